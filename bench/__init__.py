"""Benchmarks: ours against the host and against bare SQLite, in one run, as ratios. Never part of the tests."""
