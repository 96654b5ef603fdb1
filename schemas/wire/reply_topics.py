"""Patterns of reply topics: which topics a request may name for its result.

As in Kafka's ACLs, a pattern is a topic's whole name, or a prefix: then it ends with ``*``.
"""

import re
from collections.abc import Iterable

PREFIX_MARK = "*"

_LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_NO_NAMES = frozenset({".", ".."})
_KAFKAS_OWN = "__"


def is_legal_topic(name: str) -> bool:
    return _LEGAL_NAME.fullmatch(name) is not None and name not in _NO_NAMES


def is_prefix(pattern: str) -> bool:
    return pattern.endswith(PREFIX_MARK)


def stem_of(pattern: str) -> str:
    return pattern.removesuffix(PREFIX_MARK)


def matches(pattern: str, topic: str) -> bool:
    return topic.startswith(stem_of(pattern)) if is_prefix(pattern) else topic == pattern


def is_allowed(topic: str, patterns: Iterable[str]) -> bool:
    return is_legal_topic(topic) and any(matches(pattern, topic) for pattern in patterns)


def may_match_kafkas_own(pattern: str) -> bool:
    """Return whether a pattern lets in names that begin with two underscores."""
    stem = stem_of(pattern)
    return stem.startswith(_KAFKAS_OWN) or (is_prefix(pattern) and _KAFKAS_OWN.startswith(stem))


def overlap(first: str, second: str) -> bool:
    """Return whether there may be a topic that both patterns match."""
    if not is_prefix(first):
        return matches(second, first)
    if not is_prefix(second):
        return matches(first, second)
    return stem_of(first).startswith(stem_of(second)) or stem_of(second).startswith(stem_of(first))
