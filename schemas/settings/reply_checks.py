"""Checks of the routes' reply topics against each other and against the routes' own topics."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from schemas.wire.reply_topics import is_legal_topic, is_prefix, matches, may_match_kafkas_own
from schemas.wire.reply_topics import overlap as patterns_overlap

HANDLED_SUFFIX = "-handled"
"""Of the topic in which ``headrace dlq`` remembers what was handled."""


class _Route(Protocol):
    @property
    def requests_topic(self) -> str: ...
    @property
    def results_topic(self) -> str: ...
    @property
    def dead_letters_topic(self) -> str: ...
    @property
    def control_topic(self) -> str | None: ...
    @property
    def reply_topics(self) -> tuple[str, ...]: ...


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns that are legal by themselves; ``ValueError`` says which is not."""
    for pattern in patterns:
        if may_match_kafkas_own(pattern):
            raise ValueError(
                f"'{pattern}' lets in Kafka's own topics, whose names begin with __: choose "
                "another prefix"
            )
        if not is_prefix(pattern) and not is_legal_topic(pattern):
            raise ValueError(f"'{pattern}' is no legal name of a topic")
    return patterns


def check_reply_topics(routes: Mapping[str, _Route], jobs_topic: str) -> None:
    """Raise ``ValueError`` if a pattern matches the service's own topic, or two would share ids."""
    for name, route in routes.items():
        for pattern in route.reply_topics:
            if matches(pattern, jobs_topic):
                raise ValueError(
                    f"routes.{name}.reply_topics: '{pattern}' matches {jobs_topic}, jobs.topic: a "
                    "request could write there what is read as the state of a job; choose another "
                    "pattern, or another topic for the registry of jobs"
                )
            for whose, role, topic in _own_topics(routes):
                if matches(pattern, topic):
                    raise ValueError(
                        f"routes.{name}.reply_topics: '{pattern}' matches {topic}, the "
                        f"{role} of routes.{whose}: a request could write there what is read as "
                        "something else; choose a pattern that matches no route's own topics"
                    )
            for other, second in _shared(name, routes):
                if patterns_overlap(pattern, second):
                    raise ValueError(
                        f"routes.{name}.reply_topics: '{pattern}' and '{second}' of "
                        f"routes.{other} may match the same topic, and both routes answer "
                        f"{route.requests_topic}: the ids of their results would collide; "
                        "choose patterns that have no topic in common"
                    )


def _own_topics(routes: Mapping[str, _Route]) -> Iterator[tuple[str, str, str]]:
    for name, route in routes.items():
        yield name, "requests_topic", route.requests_topic
        yield name, "results_topic", route.results_topic
        yield name, "dead_letters_topic", route.dead_letters_topic
        yield name, "topic of handled dead letters", route.dead_letters_topic + HANDLED_SUFFIX
        if route.control_topic is not None:
            yield name, "control_topic", route.control_topic


def _shared(name: str, routes: Mapping[str, _Route]) -> Iterator[tuple[str, str]]:
    """Yield the patterns of earlier routes that read the same requests."""
    for other, route in routes.items():
        if other == name:
            return
        if route.requests_topic == routes[name].requests_topic:
            yield from ((other, pattern) for pattern in route.reply_topics)
