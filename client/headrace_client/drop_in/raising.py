"""Errors of this client as the ``openai`` package's, where that is installed."""

from importlib import import_module
from typing import Any, NoReturn

from headrace_client.calls.openai_types import openai_package
from headrace_client.errors import (
    BadLineError,
    ClientError,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
    RequestRefusedError,
    ResultTimeoutError,
    RouteError,
    SettingsError,
)

_ADDRESS = "https://kafka.invalid"
"""openai's errors hold an HTTP request and response; there was none."""
_BAD_REQUEST, _NOT_FOUND, _CANCELLED, _SERVER_ERROR = 400, 404, 499, 500


def raise_openai_error(error: ClientError, url: str) -> NoReturn:
    """Raise openai's class, caused by an error of ours; ours where openai is not installed."""
    openai = openai_package()
    if openai is None:
        raise error
    raise to_openai_error(openai, error, url) from error


def to_openai_error(openai: Any, error: ClientError, url: str) -> Exception:
    httpx = import_module("httpx")
    request = httpx.Request("POST", f"{_ADDRESS}{url}")
    found: Exception
    if isinstance(error, RequestExpiredError | ResultTimeoutError):
        found = openai.APITimeoutError(request)
        # Its own message says 'Request timed out.' only.
        found.args = (str(error),)
        found.message = str(error)  # type: ignore[attr-defined]  # as openai.APIError has it
        return found
    status_code, body = _status_of(error)
    if status_code is None:
        found = openai.APIConnectionError(message=str(error), request=request)
        return found
    response = httpx.Response(
        status_code, request=request, json={"error": body}, headers=_headers_of(error)
    )
    kind = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        409: openai.ConflictError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
    }.get(status_code, openai.APIStatusError)
    if status_code >= _SERVER_ERROR:
        kind = openai.InternalServerError
    found = kind(f"Error code: {status_code} - {error}", response=response, body=body)
    return found


def _status_of(error: ClientError) -> tuple[int | None, dict[str, Any]]:
    if isinstance(error, RequestRefusedError):
        said = error.body.get("error")
        return error.status_code, said if isinstance(said, dict) else {"message": str(error)}
    body: dict[str, Any] = {"message": str(error), "type": "server_error", "param": None}
    if isinstance(error, RequestError):
        status_code = _CANCELLED if isinstance(error, RequestCancelledError) else _SERVER_ERROR
        return status_code, {**body, "code": error.code}
    body["type"] = "invalid_request_error"
    if isinstance(error, SettingsError | BadLineError):
        return _BAD_REQUEST, {**body, "code": "invalid_value"}
    if isinstance(error, RouteError):
        return _NOT_FOUND, {**body, "code": "unknown_url"}
    return None, body


def _headers_of(error: ClientError) -> dict[str, str]:
    if isinstance(error, RequestError) and error.result_id:
        return {"x-request-id": error.result_id}
    return {}
