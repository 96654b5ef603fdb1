"""Connections, and the private parts of aiokafka."""
