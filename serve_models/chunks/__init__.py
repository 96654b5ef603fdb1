"""Calls of a model replica: chunks of records in, a stream of outcomes out."""
