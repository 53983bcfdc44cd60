"""What people saw: the accepted messages, in memory, as a page and as JSON."""
