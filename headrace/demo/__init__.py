"""``make demo``: real models and an embedded broker."""
