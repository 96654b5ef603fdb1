"""Bulk jobs: files in, files out, Kafka between."""
