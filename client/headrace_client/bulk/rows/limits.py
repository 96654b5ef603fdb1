"""What a row's text may have; apart from the checks, whose imports the command's help can spare."""

DEFAULT_MAX_TEXT_BYTES = 1_000_000
"""A request with one such text fits into the 1 MiB that routes and topics take by default."""
