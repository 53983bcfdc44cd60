"""The pages that a person opens from a link: texts, HTML, headers."""
