"""Kafka in, Kafka out: the consumer replicas."""
