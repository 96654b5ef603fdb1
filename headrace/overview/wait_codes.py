"""What kind of wait a consumer's own line is about. Pure."""

import re

from headrace.overview.snapshot import ReasonCode

_CODES = (
    (re.compile(r"^topic \S+ is gone"), ReasonCode.TOPIC_MISSING, True),
    (re.compile(r"^\S+/\d+ has no leader"), ReasonCode.NO_LEADER, False),
    (re.compile(r"waits for a broker"), ReasonCode.BROKERS_SILENT, True),
    (re.compile(r"^\S+/\d+ is held at offset \d+ by an open"), ReasonCode.OPEN_TRANSACTION, False),
    (re.compile(r"^the model is down"), ReasonCode.BREAKER_OPEN, True),
    (re.compile(r"^no model replica takes"), ReasonCode.NO_MODEL_REPLICA, True),
    (re.compile(r"^model \S+: no replica takes"), ReasonCode.NO_MODEL_REPLICA, True),
    (re.compile(r"^admission is full"), ReasonCode.ADMISSION_CLOSED, True),
    (
        re.compile(r"^(the group (is rebalancing|may have given)|waits for the group)"),
        ReasonCode.REBALANCING,
        True,
    ),
)


def code_of(line: str) -> tuple[ReasonCode, bool]:
    """Return a line's kind, and whether it keeps the whole consumer from going on."""
    for pattern, code, blocks in _CODES:
        if pattern.search(line):
            return code, blocks
    return ReasonCode.WAITS, False
