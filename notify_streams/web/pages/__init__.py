"""The operators' pages: Jinja2 templates and their style."""
