"""Connections, and the parts of aiokafka that it does not publish."""
