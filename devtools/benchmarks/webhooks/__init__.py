"""Benchmarks of what providers report: webhooks over HTTP, receipts on the topic."""
