"""Publishing exactly once: one transactional id for each input partition."""
