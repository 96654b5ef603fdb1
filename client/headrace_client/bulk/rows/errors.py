"""What may be wrong with the input as a whole, and with one row of it."""

from dataclasses import dataclass

from headrace_client.errors import ClientError


class InputError(ClientError):
    """The input, or how it is to be read, is no good; the message names the file and what to do."""


class InputChangedError(InputError):
    """The input is not the one with which the job began; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be read; the place is added by who knows the file."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why a row cannot be sent.

    Attributes:
        code: For programs: ``column_missing``, ``null``, ``not_text``, ``empty``, ``too_large``,
            ``invalid_utf8``, ``invalid_json``, ``invalid_csv``, ``not_carried``,
            ``invalid_request_line`` or ``duplicate_custom_id``.
        message: For people; it says what to do.
        place: The file and the line or row in it.
    """

    code: str
    message: str
    place: str
