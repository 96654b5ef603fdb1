"""Errors whose message is for the user: it says why, and what to do next."""


class UserError(Exception):
    """The command cannot do what was asked."""


class ServiceError(Exception):
    """The service did not come up, or does not answer."""
