"""Turns vLLM's errors into refusals in OpenAI's shape.

A request is refused if another attempt would give the same error. Any other error is a failure of
the model, or says that it has no room at the moment.
"""

import re
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.exceptions import EngineGenerateError

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE
from schemas.wire.results import encode_refusal_body
from serve_models.generation.arguments import with_setting_names
from serve_models.generation.engine import Answer

_MAX_MESSAGE_CHARACTERS = 500
_MAX_PROBLEMS = 5
_MOST_PROBLEMS_READ = 10_000
_NOT_IMPLEMENTED = 501
_OF_THE_REQUEST = (ValueError, TypeError, OverflowError, NotImplementedError)
"""vLLM's own server treats these as errors of the request if they are not wrapped."""
_WORD = re.compile(r"[a-z_]+")
_TELLTALES = {
    "grammar": "structured_outputs",
    "tool choice": "tool_choice",
    "not a multimodal model": "messages",
}
_TYPE_NAMES = frozenset({"str", "int", "float", "bool", "bytes", "list", "dict", "none"})

_Location = tuple[int | str, ...]


def refuse(
    message: str, *, param: str | None, status: int = 400, code: str = "invalid_value"
) -> Answer:
    shown = message.encode("utf-8", "replace").decode()
    if len(shown) > _MAX_MESSAGE_CHARACTERS:
        shown = shown[:_MAX_MESSAGE_CHARACTERS] + "…"
    return Answer(status, encode_refusal_body(shown, code, param))


def refuse_unknown_model(model: str, served: Iterable[str]) -> Answer:
    return refuse(
        f"model: there is no '{model[:100]}' here; this route serves {', '.join(sorted(served))}",
        param="model",
        status=404,
        code="model_not_found",
    )


class Refusals:
    """Translates vLLM's errors for one endpoint; ``prompt_field`` has the prompt."""

    def __init__(self, request_class: type[BaseModel], prompt_field: str) -> None:
        self._prompt_field = prompt_field
        self._fields = frozenset(request_class.model_fields)

    def of_unreadable(self, error: Exception) -> Answer:
        if isinstance(error, ValidationError):
            return _refuse_fields(error)
        if isinstance(error, VLLMValidationError):
            return self._refuse_value(error)
        return refuse(f"the body is of a wrong type or form ({error})", param=None)

    def of(self, error: Exception) -> Answer | None:
        """Return the answer to a request that raised; ``None`` for a failure of the model.

        vLLM wraps errors of its front end in a request's parameters in ``EngineGenerateError``. Its
        own server calls these server failures, but they recur.
        """
        cause = error.__cause__
        if isinstance(error, EngineGenerateError) and isinstance(cause, _OF_THE_REQUEST):
            error = cause
        if isinstance(error, VLLMValidationError):
            return self._refuse_value(error)
        return self.of_response(create_error_response(error))

    def of_response(self, response: ErrorResponse) -> Answer | None:
        error = response.error
        if error.code == STATUS_UNAVAILABLE:
            return Answer(STATUS_UNAVAILABLE, b"")
        status = 400 if error.code == _NOT_IMPLEMENTED else error.code
        if status >= STATUS_FAILED:
            return None
        return self._refuse(error.message, error.param, status)

    def _refuse_value(self, error: VLLMValidationError) -> Answer:
        # Its str() includes the value, which may be a whole body.
        message = str(error.args[0]) if error.args else "the value cannot be used"
        return self._refuse(message, error.parameter)

    def _refuse(self, message: str, param: str | None, status: int = 400) -> Answer:
        if param is None:
            param = self._find_field(message)
        # vLLM also names parts of a prompt, as image_url, and its own name of the rendered one.
        if param.partition(".")[0] not in self._fields:
            param = self._prompt_field
        message = with_setting_names(message)
        shown = message if message.lstrip("`").startswith(param) else f"{param}: {message}"
        return refuse(shown, param=param, status=status)

    def _find_field(self, message: str) -> str:
        for words, field in _TELLTALES.items():
            if words in message.lower() and field in self._fields:
                return field
        named = (word for word in _WORD.findall(message) if word in self._fields)
        return next(named, self._prompt_field)


def _refuse_fields(error: ValidationError) -> Answer:
    if (count := error.error_count()) > _MOST_PROBLEMS_READ:
        # Reading all of them would delay every other record of the replica.
        return refuse(f"{count} values in the body are of a wrong type or form", param=None)
    problems: dict[str, str] = {}
    for location, message in _nearest_problems(error):
        # A field of several types has a problem for each; the first says enough.
        problems.setdefault(_field(location), message)
    shown = [f"{field}: {message}" for field, message in list(problems.items())[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        shown.append("…")
    first = next(iter(problems)).partition(".")[0]
    return refuse("; ".join(shown), param=None if first == "body" else first)


def _nearest_problems(error: ValidationError) -> list[tuple[_Location, str]]:
    """Return the problems; of a union, only those with the closest member."""
    by_member: dict[_Location, list[tuple[_Location, str]]] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        location = problem["loc"]
        depth = next((at for at, part in enumerate(location) if not _is_path(part)), len(location))
        by_member.setdefault(location[: depth + 1], []).append((location, problem["msg"]))
    nearest: dict[_Location, list[tuple[_Location, str]]] = {}
    for member, problems in by_member.items():
        union = member if not member or _is_path(member[-1]) else member[:-1]
        if union not in nearest or len(problems) < len(nearest[union]):
            nearest[union] = problems
    return [problem for problems in nearest.values() for problem in problems]


def _is_path(part: int | str) -> bool:
    """Whether this is a key or position, and not a type's name, which pydantic puts between."""
    return isinstance(part, int) or (part.isidentifier() and part.islower())


def _field(location: _Location) -> str:
    parts = [str(part) for part in location if _is_path(part)]
    # The name of a union's type comes last.
    while len(parts) > 1 and parts[-1] in _TYPE_NAMES:
        parts.pop()
    return ".".join(parts) or "body"
