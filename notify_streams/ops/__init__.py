"""What operators run and look at: topics and shards made ready, the audit, the drills, the views, the benchmarks."""
