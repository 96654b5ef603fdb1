"""The names on the wire: endpoints, headers, and codes of outcomes."""

from typing import NamedTuple

EMBEDDINGS_URL = "/v1/embeddings"
RERANK_URL = "/v1/rerank"
SCORE_URL = "/v1/score"
CLASSIFY_URL = "/classify"
CHAT_URL = "/v1/chat/completions"
COMPLETIONS_URL = "/v1/completions"

DEADLINE = "headrace-deadline"
JOB = "headrace-job"
JOB_WEIGHT = "headrace-job-weight"
TENANT = "headrace-tenant"
PRIORITY = "headrace-priority"
REPLY_TOPIC = "headrace-reply-topic"

SOURCE = "headrace-source"
ERROR_CODE = "headrace-error-code"
ERROR_MESSAGE = "headrace-error-message"

MAX_CUSTOM_ID_CHARACTERS = 512
MAX_JOB_CHARACTERS = 512
MAX_URL_CHARACTERS = 256

REQUEST_EXPIRED = "request_expired"
REQUEST_CANCELLED = "request_cancelled"
RESULT_TOO_LARGE = "result_too_large"

Header = tuple[str, bytes | None]
Headers = tuple[Header, ...]


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def last_value(headers: Headers, name: str) -> bytes | None:
    """Return what counts of a header: its last value."""
    found = None
    for each, value in headers:
        if each == name:
            found = value
    return found
