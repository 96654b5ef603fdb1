"""Decisions without I/O: what to admit, dispatch, retry, publish and commit.

Nothing here reads a clock, opens a socket or awaits; time is an argument.
"""
