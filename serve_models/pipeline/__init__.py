"""Pipelines: graphs of models."""
