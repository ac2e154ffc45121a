"""Benchmarks: each prints ratios from one run. Nothing here asserts a time."""
