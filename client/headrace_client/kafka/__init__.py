"""Kafka without a group: publishing requests, reading results, and what the cluster knows."""
