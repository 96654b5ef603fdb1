"""The baselines. Each runs without any of the service's code."""
