"""Whether results and dead letters match their requests. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from handoff.chunk import STATUS_OK
from schemas.wire.results import ErrorCode, result_id
from tests.chaos.checks.incarnations import partition_of
from tests.chaos.checks.promises import Position
from tests.chaos.load.records import MAX_REQUEST_BYTES, Expectation, expectation
from tests.chaos.stage.model_replica import embed

_EMBEDDING_TOLERANCE = 0.01
"""With another number of threads a matrix product adds up in another order. The numbers lie between
-1 and 1, and those of another request differ in the first digit.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """Key and value of a record, a result or a dead letter."""

    key: bytes | None
    value: bytes | None


class Contents:
    """Compares each outcome with the request that it names, whichever of the two is read first.

    Args:
        topic: The requests topic.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._requests: dict[Position, Message] = {}
        self._early_results: dict[Position, list[Message]] = {}
        self._early_dead_letters: dict[Position, list[Message]] = {}

    def request(self, position: Position, request: Message) -> list[str]:
        """Record a request; return what is wrong with its outcomes read so far."""
        self._requests[position] = request
        results = self._early_results.pop(position, [])
        dead_letters = self._early_dead_letters.pop(position, [])
        wrong = [self.result(position, each) for each in results]
        wrong += [self.dead_letter(position, each) for each in dead_letters]
        return [each for each in wrong if each is not None]

    def result(self, position: Position, result: Message) -> str | None:
        """Return what is wrong with a result, if anything is known yet."""
        request = self._requests.get(position)
        if request is None:
            self._early_results.setdefault(position, []).append(result)
            return None
        wrong = _wrong_in_result(self._id(position), request, result)
        return None if wrong is None else f"{position}: {wrong}"

    def dead_letter(self, position: Position, dead_letter: Message) -> str | None:
        """Return what is wrong with a dead letter, if anything is known yet."""
        request = self._requests.get(position)
        if request is None:
            self._early_dead_letters.setdefault(position, []).append(dead_letter)
            return None
        if dead_letter == request:
            return None
        return f"{position}: the dead letter is not the request, but {_shown(dead_letter.value)}"

    def _id(self, position: Position) -> str:
        log, offset = position
        return result_id(self._topic, partition_of(log), offset)


def is_given_up(result: bytes) -> bool:
    """Return whether a result says that the model failed on every attempt."""
    error = orjson.loads(result)["error"]
    return error is not None and error["code"] == ErrorCode.MODEL_FAILED


def _wrong_in_result(line_id: str, request: Message, result: Message) -> str | None:
    if expectation(request.value) not in (Expectation.RESULT, Expectation.BOTH):
        return None  # The checker judges whether there should be one at all.
    asked = orjson.loads(request.value or b"")
    line = orjson.loads(result.value or b"null")
    if result.key != request.key:
        return f"the key is {result.key!r}, not {request.key!r}"
    for name, expected in (("id", line_id), ("custom_id", asked["custom_id"])):
        if line[name] != expected:
            return f"{name} is {line[name]!r}, not {expected!r}"
    if line["error"] is not None:
        # The schedule has no other way for a record to fail.
        code = line["error"]["code"]
        is_oversized = len(request.value or b"") > MAX_REQUEST_BYTES
        expected = ErrorCode.REQUEST_TOO_LARGE if is_oversized else ErrorCode.MODEL_FAILED
        is_right = code == expected and line["response"] is None
        return None if is_right else f"the error is {code!r}"
    return _wrong_in_response(line_id, asked, line["response"])


def _wrong_in_response(
    line_id: str, asked: Mapping[str, Any], response: Mapping[str, Any]
) -> str | None:
    if "fail" in asked["body"] or "poison" in asked["body"]:
        return "a response to a request on which the model always fails"
    if (response["status_code"], response["request_id"]) != (STATUS_OK, line_id):
        return f"status {response['status_code']} for {response['request_id']!r}"
    name, body = asked["custom_id"], response["body"]
    if "embed" in asked["body"]:
        expected = orjson.loads(embed(name, int(asked["body"]["embed"])))
        is_right = body.keys() == expected.keys() and _are_close(
            body["embedding"], expected["embedding"]
        )
    else:
        is_right = body == {"echo": name}
    return None if is_right else f"the body is {_shown(orjson.dumps(body))}"


def _are_close(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and np.allclose(found, expected, atol=_EMBEDDING_TOLERANCE)


def _shown(value: bytes | None) -> str:
    return repr(value if value is None else value[:80])
