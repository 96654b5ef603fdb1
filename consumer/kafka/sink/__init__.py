"""Publishing at least once: one writer for each partition."""
