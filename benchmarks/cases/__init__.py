"""One file a benchmark; each names its ``BENCHMARK``."""
