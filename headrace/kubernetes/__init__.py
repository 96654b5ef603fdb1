"""Kubernetes: what `headrace render` writes, and what runs in the pods besides the service."""
