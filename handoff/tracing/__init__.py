"""Traces: spans as plain values, which traces are sampled, and the exporter that sends them.

Only ``exporting`` imports OpenTelemetry, and only replicas with tracing import ``exporting``.
"""
