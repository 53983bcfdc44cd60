"""Connections to the region's databases, with every timeout set; nothing connects before it is asked to."""
