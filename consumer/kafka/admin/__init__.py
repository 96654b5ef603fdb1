"""Requests to the cluster from outside a consumer group."""
