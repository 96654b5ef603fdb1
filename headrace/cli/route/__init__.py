"""``headrace route``."""
