"""What is published instead of a message that its topic refuses for good.

Each form gives a topic fewer reasons to refuse than the one before, and the last holds nothing of
the record's own: so no record can block its partition. A topic that refuses even the last form
takes no dead letter of any record, and going on would lose them all.
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
        """Return the replacement of each refused message, in the order of the item's messages.

        * A result that is too large becomes a small one that says so.
        * Any other result, and a refused small one, becomes a dead letter that says why.
        * A dead letter without a key gets its source as the key; a large one goes without its
          value, which can be read at the source; the last one has Headrace's own headers only.
        * A result beside a dead letter may be left out: the dead letter says why.
        * What a reply topic refuses goes to the results topic; only a small result in place of one
          that is too large still goes to the reply topic, where its reader waits.

        The item's ``is_small`` and ``has_letter`` change along. Returns ``None`` if the topic
        refuses the smallest dead letter.
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
        is_reply = item.reply_topic is not None
        if is_reply and (item.is_small or item.has_letter or not rejection.is_too_large):
            item.reply_topic = None
        if item.has_letter and is_reply:
            moved = rejection.message._replace(topic=self._messages.results_topic)
            return [_trimmed(item, moved) if rejection.is_too_large else moved]
        if item.has_letter:
            smaller = _first_other(rejection.message, _results(item, rejection))
            return [] if smaller is None else [smaller]
        too_large = ErrorCode.RESULT_TOO_LARGE
        if rejection.is_too_large and not item.is_small:
            item.is_small = True
            error = self._messages.error(item, item.custom_id or "", too_large, text, now_s)
            return [_trimmed(item, error)]
        item.has_letter = True
        code = code_of(rejection)
        letter, *results = self._messages.dead_letter(item, code, text, now_s, epoch_ms)
        # The same message would be refused again.
        return [letter, *(_with_key(item, result) for result in results)]


def code_of(rejection: Rejection) -> ErrorCode:
    if rejection.is_missing:
        return ErrorCode.REPLY_TOPIC_MISSING
    if rejection.is_passing:
        return ErrorCode.REPLY_TOPIC_UNAVAILABLE
    return ErrorCode.RESULT_TOO_LARGE if rejection.is_too_large else ErrorCode.RESULT_REFUSED


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
    """Add a key if there is none: a compacted topic takes no message without."""
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
