"""Traces of records: what an engine notes of those that are sampled."""
