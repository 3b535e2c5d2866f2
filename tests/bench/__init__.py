"""The benchmarks: what README.md quotes, and how to repeat it."""
