"""What is published instead of a message that its topic refuses for good.

Each form gives a topic fewer reasons to refuse it than the one before, and the last one holds
nothing of the record's own: so no record can hold up its partition. A topic that refuses even the
last form takes no dead letter of any record, and to go on would lose them all.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence

from consumer.engine.outcomes.messages import OutcomeMessages, printable
from consumer.engine.work import WorkItem
from consumer.ports import Message, Rejection
from schemas.wire import headers
from schemas.wire.headers import Header, Headers
from schemas.wire.results import ErrorCode

_MAX_KEY_BYTES = 1024
_MAX_HEADERS_BYTES = 8192
_MAX_OWN_HEADER_BYTES = 4 * headers.MAX_MESSAGE_CHARACTERS


class Substitutes:
    def __init__(self, messages: OutcomeMessages) -> None:
        self._messages = messages

    def take_place(
        self, item: WorkItem, rejections: Iterable[Rejection], now_s: float, epoch_ms: int
    ) -> list[tuple[Message, list[Message]]] | None:
        """Return what is to be published in the place of each refused message.

        * A result that is too large becomes a small one that says so.
        * Any other result, and a small one that is refused, becomes a dead letter that says why.
        * A dead letter without a key gets one, its source; a large one goes without its value,
          which can be read at its source; the last one has Headrace's own headers only.
        * A result beside a dead letter may be left out: the dead letter says why.

        Args:
            item: Whose messages; its ``is_small`` and ``has_letter`` change along.
            rejections: Of some of its messages.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.

        Returns:
            Each refused message with its substitutes, in the order of the item's messages; ``None``
            where the topic refuses the smallest dead letter.
        """
        dead_letters_topic = self._messages.dead_letters_topic
        item.has_letter = item.has_letter or any(
            message.topic == dead_letters_topic for message in item.messages
        )
        found: list[tuple[Message, list[Message]]] = []
        for rejection in sorted(rejections, key=lambda each: item.messages.index(each.message)):
            message = rejection.message
            if message.topic != dead_letters_topic:
                found.append((message, self._of_result(item, rejection, now_s, epoch_ms)))
                continue
            letter = _first_other(message, _letters(item, rejection))
            if letter is None:
                return None
            found.append((message, [letter]))
        return found

    def _of_result(
        self, item: WorkItem, rejection: Rejection, now_s: float, epoch_ms: int
    ) -> list[Message]:
        text = printable(f"the result could not be published: {rejection.reason}")
        if item.has_letter:
            smaller = _first_other(rejection.message, _results(item, rejection))
            return [] if smaller is None else [smaller]
        too_large = ErrorCode.RESULT_TOO_LARGE
        if rejection.is_too_large and not item.is_small:
            item.is_small = True
            error = self._messages.error(item, item.custom_id or "", too_large, text, now_s)
            return [_trimmed(item, error)]
        item.has_letter = True
        code = too_large if rejection.is_too_large else ErrorCode.RESULT_REFUSED
        letter, *results = self._messages.dead_letter(item, code, text, now_s, epoch_ms)
        # What was refused as it was would be refused again.
        return [letter, *(_with_key(item, result) for result in results)]


def _letters(item: WorkItem, rejection: Rejection) -> Iterable[Message]:
    refused = rejection.message
    if not rejection.is_too_large:
        yield _with_key(item, refused)
    omitted = [] if refused.value is None else _describe_omitted(refused.value)
    yield _trimmed(item, refused._replace(value=None, headers=[*refused.headers, *omitted]))
    yield Message(refused.topic, _source(item), None, _own_headers(refused.headers), item)


def _results(item: WorkItem, rejection: Rejection) -> Iterable[Message]:
    if not rejection.is_too_large:
        yield _with_key(item, rejection.message)
    yield _trimmed(item, rejection.message)


def _first_other(refused: Message, forms: Iterable[Message]) -> Message | None:
    return next((form for form in forms if form != refused), None)


def _with_key(item: WorkItem, message: Message) -> Message:
    """Give it a key if it has none: a compacted topic takes no message without."""
    return message if message.key is not None else message._replace(key=_source(item))


def _trimmed(item: WorkItem, message: Message) -> Message:
    """Keep key and producer's headers unless they may be what was too large."""
    key = message.key
    if key is None or len(key) > _MAX_KEY_BYTES:
        key = _source(item)
    if _headers_bytes(message.headers) <= _MAX_HEADERS_BYTES:
        return message._replace(key=key)
    return message._replace(key=key, headers=_own_headers(message.headers))


def _source(item: WorkItem) -> bytes:
    return item.assignment.source(item.record.offset)


def _own_headers(all_headers: Sequence[Header]) -> Headers:
    # Ours stand last; a producer's own of the same name may be what was too large.
    return list(itertools.takewhile(_is_own, reversed(all_headers)))[::-1]


def _describe_omitted(value: bytes) -> Headers:
    return [
        (headers.OMITTED_VALUE_BYTES, b"%d" % len(value)),
        (headers.OMITTED_VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()),
    ]


def _headers_bytes(all_headers: Sequence[Header]) -> int:
    return sum(len(name) + len(value or b"") for name, value in all_headers)


def _is_own(header: Header) -> bool:
    name, value = header
    return name in headers.OWN and value is not None and len(value) <= _MAX_OWN_HEADER_BYTES
