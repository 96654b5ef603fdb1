"""Refuses generation requests before vLLM reads them.

vLLM's own checks are those of a web server, where the worst body costs one connection. Here, a body
that takes minutes to reject delays the replica's other records. vLLM also drops fields that it does
not know: if such a field would change the answer, the request is refused; otherwise the response
names the field.
"""

from collections.abc import Collection, Mapping
from typing import Any

from serve_models.generation.media.policy import MediaPolicy

MOST_ENTRIES = 4096
_INSTEAD = {
    "guided_json": "use structured_outputs.json, or response_format with type json_schema",
    "guided_regex": "use structured_outputs.regex",
    "guided_choice": "use structured_outputs.choice",
    "guided_grammar": "use structured_outputs.grammar",
    "guided_whitespace_pattern": "use structured_outputs.whitespace_pattern",
    "guided_decoding_backend": "leave it out; the model's engine_args.structured_outputs_config "
    "sets it, and structured_outputs or response_format says what to keep to",
    "extra_body": "is for OpenAI's Python client, which takes it apart; put its fields beside "
    "messages or prompt",
    "chat_template": "it is a setting of the model",
    "functions": "use tools",
    "function_call": "use tools and tool_choice",
    "audio": "answers are texts; leave it out",
    "web_search_options": "nothing is searched here; leave it out",
    "media_io_kwargs": "the model's engine_args.media_io_kwargs says how media are read",
    "mm_processor_kwargs": "the model's engine_args.mm_processor_kwargs says how media are "
    "processed",
}
"""What to do instead of a field that vLLM drops although it would change the answer. (It refuses
``chat_template``, but by the name of a flag.)"""
_MOST_NAMED = 16
_MOST_NAME_CHARACTERS = 64


class RequestRefusedError(ValueError):
    """A request is refused; the message names the fix, and ``param`` the field."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body without null fields, also in messages and their parts.

    A null means a missing field, but vLLM accepts it for some fields only. In tools and schemas a
    null may have a meaning, and stays.
    """
    given = _fields_without_nulls(body)
    if isinstance(given.get("messages"), list):
        given["messages"] = [_message_without_nulls(each) for each in given["messages"]]
    return given


def check_body(
    body: Mapping[str, Any],
    *,
    takes_kv_transfer: bool,
    media: MediaPolicy,
    structured_fields: Collection[str],
) -> None:
    """Raise ``RequestRefusedError`` if vLLM may not read a body, which has no nulls any more.

    ``takes_kv_transfer`` says whether the engine can take a prompt's cache from elsewhere,
    ``media`` from where pictures and sound may come. ``structured_outputs`` may have
    ``structured_fields``.
    """
    if body.get("stream"):
        raise RequestRefusedError(
            "stream", "results come whole, one record for each request; leave it out"
        )
    if body.get("kv_transfer_params") is not None and not takes_kv_transfer:
        # vLLM would generate from these token ids, and not from the messages.
        raise RequestRefusedError(
            "kv_transfer_params", "this route's engine takes none; leave it out"
        )
    for number, tool in enumerate(_check_entries("tools", body.get("tools"))):
        function = tool.get("function")
        if not isinstance(function, dict) or "name" not in function:
            # vLLM looks for the name that tool_choice has in them.
            raise RequestRefusedError("tools", f"[{number}].function must be an object with a name")
    for number, message in enumerate(_check_entries("messages", body.get("messages"))):
        _check_message(number, message, media)
    for field, instead in _INSTEAD.items():
        if body.get(field) is not None:
            raise RequestRefusedError(field, f"is not taken here; {instead}")
    if "best_of" in body and body["best_of"] != body.get("n", 1):
        raise RequestRefusedError("best_of", "is not taken here; ask for n choices, and choose")
    if body.get("modalities", ["text"]) != ["text"]:
        raise RequestRefusedError("modalities", 'answers are texts; ["text"] is all there is')
    template_values = body.get("chat_template_kwargs")
    if isinstance(template_values, dict) and template_values.get("chat_template") is not None:
        raise RequestRefusedError(
            "chat_template_kwargs", f"chat_template {_INSTEAD['chat_template']}; leave it out"
        )
    _check_response_format(body.get("response_format"))
    _check_structured_outputs(body.get("structured_outputs"), structured_fields)


def ignored_fields(body: Mapping[str, Any], known_fields: Collection[str]) -> list[str]:
    """Return the names of fields that vLLM drops, at most 16, for the response."""
    names = [name[:_MOST_NAME_CHARACTERS] for name in body if name not in known_fields]
    return names[:_MOST_NAMED]


def _check_entries(field: str, entries: object) -> list[dict[str, Any]]:
    entries = _check_list(field, entries)
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RequestRefusedError(field, f"[{number}] must be an object")
    return entries


def _check_list(field: str, value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RequestRefusedError(field, "must be a list")
    if len(value) > MOST_ENTRIES:
        raise RequestRefusedError(
            field, f"{len(value)} entries are over the limit of {MOST_ENTRIES}; send fewer"
        )
    return value


def _check_message(number: int, message: Mapping[str, Any], media: MediaPolicy) -> None:
    if not isinstance(message.get("tool_calls") or [], list):
        raise RequestRefusedError("messages", f"[{number}].tool_calls must be a list")
    content = message.get("content")
    if not isinstance(content, list):
        return
    field = f"messages.{number}.content"
    for position, part in enumerate(_check_list(field, content)):
        if isinstance(part, str):
            continue
        if not isinstance(part, dict):
            raise RequestRefusedError(field, f"[{position}] must be an object or a string")
        if (problem := media.problem(part)) is not None:
            raise RequestRefusedError(field, f"[{position}] {problem}")


def _check_response_format(value: object) -> None:
    if not isinstance(value, dict) or value.get("type") not in {"text", "json_object"}:
        return
    for field in ("schema", "json_schema"):
        if value.get(field) is not None:
            raise RequestRefusedError(
                "response_format",
                f"{field} would have no effect with type {value['type']}; use "
                '{"type": "json_schema", "json_schema": {"name": …, "schema": …}}',
            )


def _check_structured_outputs(value: object, known_fields: Collection[str]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise RequestRefusedError("structured_outputs", "must be an object")
    for field, each in value.items():
        if each is not None and field not in known_fields:
            raise RequestRefusedError(
                "structured_outputs",
                f"has no field '{field[:_MOST_NAME_CHARACTERS]}'; it takes "
                f"{', '.join(sorted(known_fields))}",
            )


def _message_without_nulls(message: object) -> object:
    if not isinstance(message, dict):
        return message
    given = _fields_without_nulls(message)
    for field in ("content", "tool_calls"):
        if isinstance(given.get(field), list):
            given[field] = [
                _fields_without_nulls(each) if isinstance(each, dict) else each
                for each in given[field]
            ]
    return given


def _fields_without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}
