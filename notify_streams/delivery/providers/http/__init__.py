"""HTTP/1.1 over kept connections."""
