"""The registry of jobs: a compacted topic on which runners say how their jobs stand."""
