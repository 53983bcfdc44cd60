"""Router benchmarks: throughput beside a baseline, and CPU for each step."""
