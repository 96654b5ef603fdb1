"""Checkpoints, run batch by batch."""
