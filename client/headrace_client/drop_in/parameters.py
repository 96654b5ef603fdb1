"""Reads the parameters of openai's calls. Pure."""

from typing import Any

from headrace_client.errors import SettingsError

NOT_GIVEN = object()
_HTTP_ONLY = ("extra_headers", "extra_query")
_LEFT_OUT = frozenset({"NotGiven", "Omit"})


def clean(parameters: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return a call's body and its timeout; headers and queries of HTTP are left out.

    ``SettingsError`` refuses ``stream``.
    """
    timeout = parameters.get("timeout", NOT_GIVEN)
    more = parameters.get("extra_body") or {}
    body = {
        name: value
        for name, value in parameters.items()
        if name not in {"timeout", "extra_body", *_HTTP_ONLY} and not is_left_out(value)
    }
    body.update(more)
    if body.pop("stream", None):
        raise SettingsError(
            "stream: answers come whole through Kafka; leave it out, or use openai's own client"
        )
    body.pop("stream_options", None)
    return body, timeout


def seconds(timeout: Any, default_s: float | None) -> float | None:
    """Return a timeout of openai's in seconds: a number, an ``httpx.Timeout``, or none."""
    if timeout is NOT_GIVEN or is_left_out(timeout):
        return default_s
    if timeout is None or isinstance(timeout, int | float):
        return timeout
    read_s: float | None = getattr(timeout, "read", None)
    return read_s


def is_left_out(value: Any) -> bool:
    return type(value).__name__ in _LEFT_OUT
