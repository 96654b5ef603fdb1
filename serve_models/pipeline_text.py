"""The text of a request that a guard should read: ``$request.text``. Pure."""

from collections.abc import Iterator
from typing import Any

_PART_FIELDS = ("text", "refusal", "thinking")
"""Where the parts of a message's content carry text, in OpenAI's and vLLM's chat bodies."""


class UnreadableTextError(ValueError):
    """The body holds something that is no text where text belongs; names the field."""


def request_text(body: dict[str, Any]) -> str:
    """Return every text that a generator would be asked with, in order, joined by newlines.

    That is a chat's ``messages``, a completion's ``prompt`` and an embedding's ``input``, whichever
    of them are there: a body that has several cannot hide one behind another.

    Raises:
        UnreadableTextError: There is none of them, or a part is no text (token ids, an image): a
            guard that cannot read everything must not wave the request through.
    """
    texts: list[str] = []
    if body.get("messages") is not None:
        texts += _message_texts(body["messages"])
    for field in ("prompt", "input"):
        if body.get(field) is not None:
            texts += _plain_texts(field, body[field])
    if not texts:
        raise UnreadableTextError("body: has no messages, prompt or input to read")
    return "\n".join(texts)


def _plain_texts(field: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnreadableTextError(f"{field}: must be a text or a list of texts to be read")
    return texts


def _message_texts(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list):
        raise UnreadableTextError("messages: must be a list to be read")
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if not isinstance(message, dict):
            raise UnreadableTextError(f"{where}: must be an object to be read")
        yield from _content_texts(where, message)
        for field in ("reasoning", "reasoning_content"):
            if message.get(field) is not None:
                yield from _plain_texts(f"{where}.{field}", message[field])
        yield from _call_texts(where, message.get("tool_calls"))


def _content_texts(where: str, message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise UnreadableTextError(f"{where}.content: must be a text or a list of parts to be read")
    for position, part in enumerate(content):
        if isinstance(part, str):
            yield part
            continue
        texts = [part.get(field) for field in _PART_FIELDS] if isinstance(part, dict) else []
        found = [text for text in texts if text is not None]
        if not found or not all(isinstance(text, str) for text in found):
            raise UnreadableTextError(f"{where}.content.{position}: holds no text to be read")
        yield from found


def _call_texts(where: str, calls: Any) -> Iterator[str]:
    """What an earlier turn called a tool with: templates put it into the prompt."""
    if calls is None:
        return
    for number, call in enumerate(calls if isinstance(calls, list) else [None]):
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if not isinstance(arguments, str):
            raise UnreadableTextError(
                f"{where}.tool_calls.{number}: function.arguments must be a text to be read"
            )
        yield arguments
