"""Hostile records, and good ones behind them that must end as they must."""
