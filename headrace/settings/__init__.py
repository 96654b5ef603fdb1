"""The settings file: read, checked, and explained with line numbers."""
