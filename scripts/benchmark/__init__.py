"""Speed and memory of training, beside other packages. Reported by scripts/benchmark.py, never tested for a time."""
