"""Clients of the region's databases, each with time-outs; they connect at first use."""
