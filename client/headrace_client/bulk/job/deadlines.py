"""``--deadline`` of a job."""

from headrace_client.errors import ClientError
from headrace_client.moments import moment_after


class DeadlineError(ClientError):
    """A deadline cannot be read, or lies in the past."""


def deadline_ms(text: str, now_ms: int) -> int:
    """Return a deadline in milliseconds since 1970; see ``moments``. Raises ``DeadlineError``."""
    try:
        return moment_after(text, now_ms)
    except ValueError as error:
        raise DeadlineError(f"--deadline: {error}") from None
