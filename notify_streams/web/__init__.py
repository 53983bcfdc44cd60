"""What a region serves over HTTP, and the reads and rules behind it."""
