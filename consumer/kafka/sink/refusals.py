"""Why a broker refuses a message for good, and which setting of the topic decides."""

from aiokafka import errors

from consumer.ports import Message

CORRUPT_MESSAGE = 2
MESSAGE_TOO_LARGE = 10
RECORD_LIST_TOO_LARGE = 18
INVALID_TIMESTAMP = 32
UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
POLICY_VIOLATION = 44
INVALID_RECORD = 87

MESSAGE_REFUSED = frozenset(
    {
        CORRUPT_MESSAGE,
        MESSAGE_TOO_LARGE,
        RECORD_LIST_TOO_LARGE,
        INVALID_TIMESTAMP,
        UNSUPPORTED_FOR_MESSAGE_FORMAT,
        POLICY_VIOLATION,
        INVALID_RECORD,
    }
)
"""Errors about a message in the batch, which come again with it."""

TOO_LARGE = frozenset({MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE})

_BECAUSE = {
    CORRUPT_MESSAGE: "it arrives damaged (CORRUPT_MESSAGE): see what stands between this machine "
    "and the broker",
    MESSAGE_TOO_LARGE: "it is over max.message.bytes (MESSAGE_TOO_LARGE): raise that",
    RECORD_LIST_TOO_LARGE: "it is over segment.bytes (RECORD_LIST_TOO_LARGE): raise that",
    INVALID_TIMESTAMP: "the time of its publishing is outside message.timestamp.before.max.ms and "
    "message.timestamp.after.max.ms (INVALID_TIMESTAMP): raise these, and see that this machine's "
    "clock and the broker's agree",
    UNSUPPORTED_FOR_MESSAGE_FORMAT: "it is stored in a format without headers "
    "(UNSUPPORTED_FOR_MESSAGE_FORMAT): raise message.format.version to 0.11 or later",
    POLICY_VIOLATION: "a policy of the broker is against it (POLICY_VIOLATION)",
    INVALID_RECORD: "the broker holds it for invalid (INVALID_RECORD): see the topic's validation, "
    "such as a schema that it enforces",
}


class InvalidRecordError(errors.BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    """A record breaks a rule of its topic."""

    errno = INVALID_RECORD
    message = "INVALID_RECORD"
    description = "A record breaks a rule of its topic, such as a compacted one's to have a key."


# aiokafka 0.14 knows no such code, and takes it for UnknownError, which does not say its number.
errors.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)


def explain_refusal(code: int, message: Message) -> str:
    """Return why the broker refuses ``message``: the topic, the setting, the fix.

    Args:
        code: One of ``MESSAGE_REFUSED``.
        message: The only one of its batch.
    """
    if code == INVALID_RECORD and message.key is None:
        return explain_keyless(message.topic)
    return f"topic {message.topic} refuses it: {_BECAUSE[code]}"


def explain_keyless(topic: str) -> str:
    """Return why a compacted topic refuses a message without a key."""
    return (
        f"topic {topic} takes no message without a key, as its cleanup.policy holds compact: set "
        "cleanup.policy=delete, or send requests with keys (a result has its request's key)"
    )
