"""Alerts on what a settings file's routes must guarantee: pure, and the same everywhere.

Kubernetes gets them as a ``PrometheusRule``, any other Prometheus as a file of rules.
"""
