"""Why a generation request is refused, in OpenAI's shape: what vLLM raises or returns, translated.

A refusal says that asking again would give the same; whatever is none is the model's failure, or
that it has no room at the moment.
"""

import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.exceptions import EngineGenerateError

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE
from schemas.wire.results import encode_refusal_body
from serve_models.generation.engine import Answer
from serve_models.generation.vllm_settings import with_setting_names

_MAX_MESSAGE_CHARACTERS = 500
_MAX_PROBLEMS = 5
_MOST_PROBLEMS_READ = 10_000
_CODE = "invalid_value"
_NOT_IMPLEMENTED = 501
_OF_THE_REQUEST = (ValueError, TypeError, OverflowError, NotImplementedError)
"""What vLLM's own server takes for the request's fault where it is raised as it is."""
_WORD = re.compile(r"[a-z_]+")
_PROMPT_PARAMETERS = frozenset({"input_tokens", "input_text"})
"""What vLLM calls the rendered prompt."""
_TELLTALES = {"grammar": "structured_outputs", "tool choice": "tool_choice"}
_TYPE_NAMES = frozenset({"str", "int", "float", "bool", "bytes", "list", "dict", "none"})


def refuse(message: str, *, param: str | None, status: int = 400, code: str = _CODE) -> Answer:
    """Return a refusal that names the field at fault."""
    shown = message.encode("utf-8", "replace").decode()
    if len(shown) > _MAX_MESSAGE_CHARACTERS:
        shown = shown[:_MAX_MESSAGE_CHARACTERS] + "…"
    return Answer(status, encode_refusal_body(shown, code, param))


def refuse_unknown_model(model: str, served: Iterable[str]) -> Answer:
    """Return the refusal of a name that is not served here."""
    return refuse(
        f"model: there is no '{model[:100]}' here; this route serves {', '.join(sorted(served))}",
        param="model",
        status=404,
        code="model_not_found",
    )


class Refusals:
    """Translates what goes wrong with one endpoint's bodies.

    Args:
        request_class: vLLM's class of the endpoint's request.
        prompt_field: The field that every body of it must have.
        harmless_prompt: A value of it that vLLM takes.
    """

    def __init__(
        self, request_class: type[BaseModel], prompt_field: str, harmless_prompt: object
    ) -> None:
        self._request_class = request_class
        self._prompt_field = prompt_field
        self._harmless_prompt = harmless_prompt
        self._fields = frozenset(request_class.model_fields)

    def of_unreadable(self, body: Mapping[str, object], error: Exception) -> Answer:
        """Return the refusal of a body that the request class does not take.

        Any exception, because some of vLLM's checks run on the bare JSON and raise whatever that
        leads to where a field is of another type than they expect.
        """
        if isinstance(error, ValidationError):
            return _refuse_fields(error)
        if isinstance(error, VLLMValidationError):
            return self._refuse_value(error)
        field = self._find_unreadable(body)
        return refuse(f"{field}: is of a wrong type or form ({error})", param=field)

    def of(self, error: Exception) -> Answer | None:
        """Return what an exception answers the request with; ``None`` for a failure of the model.

        vLLM wraps what the engine's front end raises on a request's parameters into an
        ``EngineGenerateError``; its own server takes the blame for these, but they come each time.
        """
        cause = error.__cause__
        if isinstance(error, EngineGenerateError) and isinstance(cause, _OF_THE_REQUEST):
            error = cause
        if isinstance(error, VLLMValidationError):
            return self._refuse_value(error)
        return self.of_response(create_error_response(error))

    def of_response(self, response: ErrorResponse) -> Answer | None:
        """Return what vLLM answered with instead; ``None`` where it reports a failure.

        That is a refusal, or that there is no room at the moment, which is nobody's fault.
        """
        error = response.error
        if error.code == STATUS_UNAVAILABLE:
            return Answer(STATUS_UNAVAILABLE, b"")
        status = 400 if error.code == _NOT_IMPLEMENTED else error.code
        if status >= STATUS_FAILED:
            return None
        return self._refuse(error.message, error.param, status)

    def _refuse_value(self, error: VLLMValidationError) -> Answer:
        # Its str() adds the value, which may be a whole body.
        message = str(error.args[0]) if error.args else "the value cannot be used"
        return self._refuse(message, error.parameter)

    def _refuse(self, message: str, param: str | None, status: int = 400) -> Answer:
        if param is None:
            param = self._find_field(message)
        if param in _PROMPT_PARAMETERS:
            param = self._prompt_field
        message = with_setting_names(message)
        shown = message if message.lstrip("`").startswith(param) else f"{param}: {message}"
        return refuse(shown, param=param, status=status)

    def _find_field(self, message: str) -> str:
        """Return the field that a message of vLLM's is about where it does not say."""
        for words, field in _TELLTALES.items():
            if words in message.lower() and field in self._fields:
                return field
        named = (word for word in _WORD.findall(message) if word in self._fields)
        return next(named, self._prompt_field)

    def _find_unreadable(self, body: Mapping[str, object]) -> str:
        """Return the field that alone, beside a harmless prompt, is refused as well."""
        for field, value in body.items():
            if field in self._fields and field != self._prompt_field:
                try:
                    self._request_class.model_validate(
                        {self._prompt_field: self._harmless_prompt, field: value}
                    )
                except Exception:  # noqa: BLE001 -- as in of_unreadable
                    return field
        return self._prompt_field


def _refuse_fields(error: ValidationError) -> Answer:
    if (count := error.error_count()) > _MOST_PROBLEMS_READ:
        # Reading them all would hold up every other record of the replica.
        return refuse(f"{count} values in the body are of a wrong type or form", param=None)
    problems: dict[str, str] = {}
    for location, message in _nearest_problems(error):
        # A field that takes several types has a problem for each; the first says enough.
        problems.setdefault(_field(location), message)
    shown = [f"{field}: {message}" for field, message in list(problems.items())[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        shown.append("…")
    first = next(iter(problems)).partition(".")[0]
    return refuse("; ".join(shown), param=None if first == "body" else first)


def _nearest_problems(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Return the problems, and of a union's only those with the member that came nearest."""
    by_member: dict[tuple[int | str, ...], list[tuple[tuple[int | str, ...], str]]] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        location = problem["loc"]
        depth = next((at for at, part in enumerate(location) if not _is_path(part)), None)
        member = location if depth is None else location[: depth + 1]
        by_member.setdefault(member, []).append((location, problem["msg"]))
    nearest: dict[tuple[int | str, ...], list[tuple[tuple[int | str, ...], str]]] = {}
    for member, problems in by_member.items():
        union = member if _is_path(member[-1]) else member[:-1]
        if union not in nearest or len(problems) < len(nearest[union]):
            nearest[union] = problems
    return [problem for problems in nearest.values() for problem in problems]


def _is_path(part: int | str) -> bool:
    """Whether this is a key or position, and not the name of a type that pydantic puts between."""
    return isinstance(part, int) or (part.isidentifier() and part.islower())


def _field(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if _is_path(part)]
    # What a union tried is named like a type, and comes last.
    while len(parts) > 1 and parts[-1] in _TYPE_NAMES:
        parts.pop()
    return ".".join(parts) or "body"
