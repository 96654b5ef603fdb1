"""One file for each benchmark; each has a ``BENCHMARK``."""
