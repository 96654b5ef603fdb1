"""``headrace offsets``."""
