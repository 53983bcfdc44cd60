"""Clients of the region's databases, with time-outs; they connect at first use."""
