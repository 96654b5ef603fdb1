"""How many replicas there should be, and why.

Pure, except ``serve_policy``, ``lag_reader`` and ``kv``.
"""
