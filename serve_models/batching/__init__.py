"""Batches cut from a pool of what waits, run in threads: under text models and custom ones."""
