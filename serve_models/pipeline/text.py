"""The text of a request for a guard to read: ``$request.text``.

A chat template may print any field. So only known fields pass: an unknown one could carry text that
the guard did not see.
"""

from collections.abc import Iterator
from typing import Any

import orjson

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_TEXTS_BESIDE_CONTENT = ("name", "tool_call_id", "reasoning", "reasoning_content", "refusal")
_MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", *_TEXTS_BESIDE_CONTENT})
_TEXT_OF_PART = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}
"""By the type of a part of a message's content, the field with its text, as in vLLM."""
_CACHE_CONTROLS: tuple[Any, ...] = (
    {"type": "ephemeral"},
    {"type": "ephemeral", "ttl": "5m"},
    {"type": "ephemeral", "ttl": "1h"},
)
"""Clients of Anthropic's models put these on parts; vLLM drops them."""
_PRINTED_AS_JSON = ("tools", "documents")
_NEVER_READ = (
    "chat_template",
    "chat_template_kwargs",
    "kv_transfer_params",
    "ec_transfer_params",
    "prompt_embeds",
    "prompt_token_ids",
    "mm_payload",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "truncate_prompt_tokens",
    "truncation_side",
)
"""Fields that change or replace the prompt in ways that no text shows. vLLM takes token ids from
``kv_transfer_params`` instead of the messages. It truncates a prompt, and what is harmless as a
whole may not be harmless in part."""


class UnreadableTextError(ValueError):
    """A part of the prompt cannot be read; the message names the field."""


def request_text(body: dict[str, Any]) -> str:
    """Return every text of a prompt, in order, joined by newlines.

    A chat's ``messages``, a completion's ``prompt`` and ``suffix``, an embedding's ``input``, and
    ``tools`` and ``documents`` as JSON: all of them, so that none hides behind another. Raises
    ``UnreadableTextError`` if the body has none, a part is not text (token ids, an image), or a
    field of the prompt is unknown.
    """
    for field in _NEVER_READ:
        if body.get(field) is not None:
            raise UnreadableTextError(f"{field}: cannot be read; leave it out")
    texts: list[str] = []
    if body.get("messages") is not None:
        texts += _message_texts(body["messages"])
    for field in ("prompt", "input"):
        if body.get(field) is not None:
            texts += _plain_texts(field, body[field])
    if not texts:
        raise UnreadableTextError("body: has no messages, prompt or input to read")
    if body.get("suffix") is not None:
        texts.append(_text("suffix", body["suffix"]))
    texts += [_json_text(each, body[each]) for each in _PRINTED_AS_JSON if body.get(each)]
    return "\n".join(texts)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableTextError(f"{where}: must be text to be read")
    return value


def _plain_texts(field: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnreadableTextError(f"{field}: must be a text or a list of texts to be read")
    return texts


def _json_text(where: str, value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise UnreadableTextError(f"{where}: cannot be read ({error}); nest it less") from None


def _only(where: str, value: Any, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableTextError(f"{where}: must be an object to be read")
    # Answers have null fields, and come back as messages.
    unknown = sorted(name for name in value.keys() - known if value[name] is not None)
    if unknown:
        raise UnreadableTextError(
            f"{where}.{unknown[0]}: cannot be read; leave it out "
            f"(what can be: {', '.join(sorted(known))})"
        )
    return value


def _message_texts(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list):
        raise UnreadableTextError("messages: must be a list to be read")
    for number, each in enumerate(messages):
        where = f"messages.{number}"
        message = _only(where, each, _known_fields(each))
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise UnreadableTextError(f"{where}.role: must be one of {', '.join(sorted(_ROLES))}")
        yield from _content_texts(where, message)
        for field in _TEXTS_BESIDE_CONTENT:
            if message.get(field) is not None:
                yield _text(f"{where}.{field}", message[field])
        yield from _call_texts(f"{where}.tool_calls", message.get("tool_calls"))


def _known_fields(message: Any) -> frozenset[str]:
    # OpenAI's answers have an empty list of annotations.
    has_none = isinstance(message, dict) and message.get("annotations") == []
    return _MESSAGE_FIELDS | {"annotations"} if has_none else _MESSAGE_FIELDS


def _content_texts(where: str, message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if content is None and message["role"] == "assistant":
        return
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise UnreadableTextError(f"{where}.content: must be a text or a list of parts to be read")
    for position, part in enumerate(content):
        yield part if isinstance(part, str) else _part_text(f"{where}.content.{position}", part)


def _part_text(where: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    field = _TEXT_OF_PART.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise UnreadableTextError(
            f"{where}: must have a type that is read ({', '.join(_TEXT_OF_PART)})"
        )
    known = frozenset({"type", field})
    if part.get("cache_control") in _CACHE_CONTROLS:
        known |= {"cache_control"}
    return _text(f"{where}.{field}", _only(where, part, known).get(field))


def _call_texts(where: str, calls: Any) -> Iterator[str]:
    """Yield the tool calls of an earlier turn, because templates put them into the prompt."""
    if calls is None:
        return
    for number, each in enumerate(calls if isinstance(calls, list) else [None]):
        call = _only(f"{where}.{number}", each, frozenset({"id", "type", "function"}))
        if call.get("type") not in (None, "function"):
            raise UnreadableTextError(f"{where}.{number}.type: must be function to be read")
        if call.get("id") is not None:
            yield _text(f"{where}.{number}.id", call["id"])
        inner = f"{where}.{number}.function"
        function = _only(inner, call.get("function"), frozenset({"name", "arguments"}))
        yield _text(f"{inner}.name", function.get("name"))
        if function.get("arguments") is not None:
            yield from _argument_texts(f"{inner}.arguments", function["arguments"])


def _argument_texts(where: str, value: Any) -> Iterator[str]:
    arguments = _text(where, value)
    yield arguments
    if "\\" not in arguments:
        return
    # A template prints the text that JSON's escapes stand for, and not the escapes.
    try:
        plain = orjson.loads(arguments)
    except orjson.JSONDecodeError as error:
        raise UnreadableTextError(f"{where}: must be JSON to be read ({error})") from None
    yield _json_text(where, plain)
