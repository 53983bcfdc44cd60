"""Developer tools, not in the production image: stack, sandbox, load, fault tests."""
