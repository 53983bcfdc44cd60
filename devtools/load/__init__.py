"""Load generation shared by the benchmarks, the demo and the chaos runs."""
