"""How many replicas there should be, and why; pure but for ``serve_policy`` and ``lag_reader``."""
