"""Developer tools: local stack, provider sandbox, load, benchmarks, fault tests. Not in the production image."""
