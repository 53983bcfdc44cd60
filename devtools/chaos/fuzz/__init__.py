"""Hostile records on every topic that a client can write, and good ones behind them that must end as they must."""
