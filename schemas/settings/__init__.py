"""The settings file, ``headrace.yaml``."""
