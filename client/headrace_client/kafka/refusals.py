"""Why a broker refuses a record for good, and which setting of the topic decides."""

from aiokafka import errors

CORRUPT_MESSAGE = 2
MESSAGE_TOO_LARGE = 10
RECORD_LIST_TOO_LARGE = 18
INVALID_TIMESTAMP = 32
UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
POLICY_VIOLATION = 44
INVALID_RECORD = 87

_BECAUSE = {
    CORRUPT_MESSAGE: "it arrives damaged (CORRUPT_MESSAGE): see what stands between this machine "
    "and the broker",
    MESSAGE_TOO_LARGE: "it is over the topic's max.message.bytes (MESSAGE_TOO_LARGE): send less in "
    "one request, or raise that setting",
    RECORD_LIST_TOO_LARGE: "it is over the topic's segment.bytes (RECORD_LIST_TOO_LARGE): "
    "raise that",
    INVALID_TIMESTAMP: "this machine's clock and the broker's differ by more than the topic allows "
    "(INVALID_TIMESTAMP): set the clocks right",
    UNSUPPORTED_FOR_MESSAGE_FORMAT: "the topic's records have no headers "
    "(UNSUPPORTED_FOR_MESSAGE_FORMAT): raise message.format.version to 0.11 or later",
    POLICY_VIOLATION: "a policy of the broker is against it (POLICY_VIOLATION)",
    INVALID_RECORD: "the broker holds it for invalid (INVALID_RECORD): see the topic's validation, "
    "such as a schema that it enforces",
}
_TOO_LARGE = frozenset({MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE})


class InvalidRecordError(errors.BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    """A record breaks a rule of its topic."""

    errno = INVALID_RECORD
    message = "INVALID_RECORD"
    description = "A record breaks a rule of its topic, such as a compacted one's to have a key."


# aiokafka 0.14 does not know this code, and takes it for UnknownError, which does not say its
# number.
errors.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)


def is_about_record(error: errors.KafkaError) -> bool:
    """Tell whether the error is about a record in the batch, and comes again with it."""
    return isinstance(error, errors.UnknownError) or getattr(error, "errno", None) in _BECAUSE


def is_too_large(error: errors.KafkaError) -> bool:
    return getattr(error, "errno", None) in _TOO_LARGE


def explain_refusal(error: errors.KafkaError, topic: str, key: bytes | None) -> str:
    """Return why the broker refuses a record, alone in its batch: topic, setting and fix."""
    code = getattr(error, "errno", None)
    if code == INVALID_RECORD and key is None:
        return (
            f"topic {topic} takes no record without a key, as its cleanup.policy holds compact: "
            "set cleanup.policy=delete, or give requests a key"
        )
    if code in _BECAUSE:
        return f"topic {topic} refuses it: {_BECAUSE[code]}"
    return f"topic {topic} refuses it: {error}; see the broker's log"
