"""Errors."""


class ClientError(Exception):
    """An error."""
