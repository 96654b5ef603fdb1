"""What to do next about an error in a transaction, by Kafka's error code.

aiokafka 0.14 has no names for some of them.
"""

from enum import Enum, auto

from consumer.kafka.sink.refusals import MESSAGE_REFUSED

NONE = 0
UNKNOWN_TOPIC_OR_PARTITION = 3
TOPIC_AUTHORIZATION_FAILED = 29
INVALID_TXN_STATE = 48
INVALID_PRODUCER_ID_MAPPING = 49
CONCURRENT_TRANSACTIONS = 51
UNSTABLE_OFFSET_COMMIT = 88
TRANSACTIONAL_ID_NOT_FOUND = 105

COORDINATOR_GONE = frozenset(
    {
        14,  # COORDINATOR_LOAD_IN_PROGRESS
        15,  # COORDINATOR_NOT_AVAILABLE
        16,  # NOT_COORDINATOR
    }
)
"""Another coordinator takes over, or the same one after its restart."""


class NextStep(Enum):
    """What the owner of a transactional id does about an error."""

    SOON = auto()
    """Send the same request again in a few milliseconds: the last transaction still completes."""
    MOVED = auto()
    """Send the same request again, to the present leader or coordinator."""
    FENCED = auto()
    """The id's epoch has grown: by another owner, or by a coordinator that aborted."""
    BEGIN_AGAIN = auto()
    """Abort, and begin again with a new epoch."""
    REJECT = auto()
    """A message in the batch is refused, and would be again."""
    REFUSED = auto()
    """Waiting does not help: the sink fails and says why."""


_STEPS = {
    NextStep.SOON: {CONCURRENT_TRANSACTIONS, UNSTABLE_OFFSET_COMMIT},
    NextStep.MOVED: {
        UNKNOWN_TOPIC_OR_PARTITION,  # also while a broker does not know a new topic yet
        5,  # LEADER_NOT_AVAILABLE
        6,  # NOT_LEADER_OR_FOLLOWER
        7,  # REQUEST_TIMED_OUT
        13,  # NETWORK_EXCEPTION
        *COORDINATOR_GONE,
        19,  # NOT_ENOUGH_REPLICAS
        20,  # NOT_ENOUGH_REPLICAS_AFTER_APPEND
        52,  # TRANSACTION_COORDINATOR_FENCED: it has been replaced as the coordinator
        55,  # OPERATION_NOT_ATTEMPTED: another partition of the request was at fault
        56,  # KAFKA_STORAGE_ERROR
    },
    NextStep.FENCED: {
        47,  # INVALID_PRODUCER_EPOCH
        90,  # PRODUCER_FENCED
    },
    NextStep.REJECT: MESSAGE_REFUSED,
    NextStep.REFUSED: {
        12,  # OFFSET_METADATA_TOO_LARGE
        17,  # INVALID_TOPIC_EXCEPTION
        24,  # INVALID_GROUP_ID
        TOPIC_AUTHORIZATION_FAILED,
        30,  # GROUP_AUTHORIZATION_FAILED
        31,  # CLUSTER_AUTHORIZATION_FAILED
        35,  # UNSUPPORTED_VERSION
        50,  # INVALID_TRANSACTION_TIMEOUT
        53,  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    },
}
_STEP_BY_CODE = {code: step for step, codes in _STEPS.items() for code in codes}


def next_step(code: int) -> NextStep:
    """Return what to do about an error; to begin again where the code is unknown.

    Raises:
        ValueError: The code is 0, no error.
    """
    if code == NONE:
        raise ValueError("code: 0 is no error")
    return _STEP_BY_CODE.get(code, NextStep.BEGIN_AGAIN)
