"""The whole mission in one command: people sign up, triggers come in, notifications go out, and the books are shown to close."""
