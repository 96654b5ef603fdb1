"""Reads the file that has a collector's headers. Imports no OpenTelemetry."""

from handoff.tracing.opening import TracingError
from headrace_client.logs.learned import learn_secrets
from schemas.settings.tracing import TracingSettings


def read_headers(settings: TracingSettings) -> dict[str, str]:
    """Read the collector's headers; ``TracingError`` quotes nothing of the file."""
    path = settings.headers_file
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise TracingError(f"tracing.headers_file: {path} cannot be read: {reason}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not name.strip():
            raise TracingError(
                f"tracing.headers_file: line {number} of {path} is not NAME=VALUE, e.g. "
                "authorization=Bearer TOKEN"
            )
        found[name.strip().lower()] = value.strip()
        learn_secrets(value.strip(), *value.split()[1:])
    return found
