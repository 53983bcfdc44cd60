"""Which region serves whose people: the failover protocol, its control log and its followers."""
