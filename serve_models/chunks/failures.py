"""Outcomes of records without a response: refused, or failed."""

import asyncio
from dataclasses import dataclass

import orjson

from handoff.chunk import STATUS_FAILED, STATUS_UNRECOVERABLE
from schemas.bodies.base import BodyRefusedError
from schemas.wire.results import encode_refusal_body

ENDS_THE_TASK = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
"""Raised to end a task or the process. Anything else is a failure to answer, even if it is
no ``Exception``: a Rust panic, in tokenizers for example, is a bare ``BaseException``."""
ENDS_THE_PROCESS = (KeyboardInterrupt, SystemExit)
"""The same in a worker thread. A ``CancelledError`` there comes from an event loop of the model. It
would end the task that waits for the thread, and leave its records without outcomes."""
_MAX_ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """The outcome of a record that has no response.

    Not the exception itself: its traceback holds the frames of a failed forward, and they hold the
    memory that the next one needs.
    """

    status: int
    body: bytes

    @classmethod
    def of(cls, error: BaseException) -> "Refusal":
        """Return the outcome of a record that, alone, raised ``error`` in a healthy model."""
        if isinstance(error, BodyRefusedError):
            return cls(error.status, encode_refusal_body(str(error), error.code, error.param))
        return cls(status_of_failure(error), encode_failure_body(error))

    @property
    def is_failure(self) -> bool:
        return self.status >= STATUS_FAILED


def describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 -- a model's own exception may not even have a text
        return type(error).__name__


def status_of_failure(error: BaseException) -> int:
    """Return the status of a record that, alone, raised ``error`` in a healthy model.

    ``STATUS_UNRECOVERABLE`` where another attempt would raise the same: an index beyond a table, a
    value of the wrong type, a Rust panic. ``RuntimeError`` is torch's for all device errors.
    """
    would_recur = isinstance(error, ArithmeticError | LookupError | TypeError | ValueError)
    # The tokenizers library raises the bare class.
    is_cancelled = isinstance(error, asyncio.CancelledError)
    is_bare = type(error) is Exception or not isinstance(error, Exception)
    is_lasting = would_recur or (is_bare and not is_cancelled)
    return STATUS_UNRECOVERABLE if is_lasting else STATUS_FAILED


def encode_failure_body(error: BaseException | str) -> bytes:
    """Return the ``response.body`` of a record that the model failed on, in OpenAI's shape."""
    reason = error if isinstance(error, str) else describe(error)
    message = f"the model failed on this request: {reason}"
    return orjson.dumps(
        {
            "error": {
                "message": message[:_MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode(),
                "type": "server_error",
                "param": None,
                "code": "model_failed",
            }
        }
    )
