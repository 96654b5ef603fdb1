"""Fields of a generation request that say nothing, and fields that vLLM would not listen to. Pure.

vLLM's server takes fields that it does not know, drops them and tells its log. Where an answer
without the field is another answer, the request is refused; elsewhere the response names it.
"""

from collections.abc import Collection, Mapping
from typing import Any

from serve_models.generation.bodies import BodyNotTakenError

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
}
"""By field that vLLM drops though the answer would be another, what to do instead; and one that it
refuses by the name of a flag."""
_MOST_NAMED = 16
_MOST_NAME_CHARACTERS = 64


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body without the fields that are null, its messages' and their parts' included.

    ``null`` is a field left out; vLLM takes it for some fields and not for others. What is inside
    tools and schemas is theirs: there a null may have a meaning.
    """
    given = {name: value for name, value in body.items() if value is not None}
    if isinstance(given.get("messages"), list):
        given["messages"] = [_message_without_nulls(each) for each in given["messages"]]
    return given


def check_fields(body: Mapping[str, Any], structured_fields: Collection[str]) -> None:
    """Return if vLLM heeds all that a request asks for and that would change its answer.

    Args:
        body: The request's, without nulls.
        structured_fields: What ``structured_outputs`` may have.

    Raises:
        BodyNotTakenError: It asks for what would be dropped; names the field and what to do.
    """
    for field, instead in _INSTEAD.items():
        if field in body:
            raise BodyNotTakenError(field, f"is not taken here; {instead}")
    if "best_of" in body and body["best_of"] != body.get("n", 1):
        raise BodyNotTakenError("best_of", "is not taken here; ask for n choices, and choose")
    if body.get("modalities", ["text"]) != ["text"]:
        raise BodyNotTakenError("modalities", 'answers are texts; ["text"] is all there is')
    template_values = body.get("chat_template_kwargs")
    if isinstance(template_values, dict) and template_values.get("chat_template") is not None:
        raise BodyNotTakenError(
            "chat_template_kwargs", f"chat_template {_INSTEAD['chat_template']}; leave it out"
        )
    _check_response_format(body.get("response_format"))
    structured = body.get("structured_outputs")
    if isinstance(structured, dict):
        for field, value in structured.items():
            if value is not None and field not in structured_fields:
                raise BodyNotTakenError(
                    "structured_outputs",
                    f"has no field '{field[:_MOST_NAME_CHARACTERS]}'; it takes "
                    f"{', '.join(sorted(structured_fields))}",
                )


def ignored_fields(body: Mapping[str, Any], known_fields: Collection[str]) -> list[str]:
    """Return the names of the fields that vLLM drops, at most 16, to stand in the response.

    Args:
        body: The request's, without nulls.
        known_fields: What vLLM's request has.
    """
    names = [name[:_MOST_NAME_CHARACTERS] for name in body if name not in known_fields]
    return names[:_MOST_NAMED]


def _check_response_format(value: object) -> None:
    if not isinstance(value, dict) or value.get("type") not in {"text", "json_object"}:
        return
    for field in ("schema", "json_schema"):
        if value.get(field) is not None:
            raise BodyNotTakenError(
                "response_format",
                f"{field} would have no effect with type {value['type']}; use "
                '{"type": "json_schema", "json_schema": {"name": …, "schema": …}}',
            )


def _message_without_nulls(message: object) -> object:
    if not isinstance(message, dict):
        return message
    given = _fields_without_nulls(message)
    for field in ("content", "tool_calls"):
        if isinstance(given.get(field), list):
            given[field] = [_fields_without_nulls(each) for each in given[field]]
    return given


def _fields_without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: each for name, each in value.items() if each is not None}
