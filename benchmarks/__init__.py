"""Benchmarks: each beside its baseline, on the same machine in the same minute."""
