"""Which offsets are safe to commit."""
