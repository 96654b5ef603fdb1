"""What the bodies of the text endpoints have in common, and how a request's is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from schemas.wire.requests import describe_validation_error, first_field

_ANNOTATIONS = frozenset({"title", "description", "default"})
_NULL = {"type": "null"}


def _as_integer(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(_as_integer)
"""Takes 64.0 for 64, as JSON Schema does: JavaScript's and Lua's numbers have no other form."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What requests of a model may have, by its settings and kind.

    They are token ids for texts, empty texts, and images beside texts.
    """

    token_ids: bool = False
    empty_texts: bool = False
    images: bool = False


NOTHING_MORE = Accepted()


class TextBody(BaseModel):
    """A request body with texts in it. Fields that are not named are ignored; types are strict.

    A null for an optional field is the field left out, as clients write out what they do not set.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    model: str | None = Field(
        default=None, description="The model's name; the route's where unset."
    )
    truncation: bool = Field(
        default=True, description="Cut a text over the model's length; false: refuse it with 400."
    )

    @classmethod
    def without_nulls(cls, body: dict[Any, Any]) -> dict[Any, Any]:
        """Return a body without the nulls that stand for fields left out."""
        given = {name: value for name, value in body.items() if value is not None}
        for names, is_required in cls._names():
            if is_required and given.keys().isdisjoint(names):
                # The refusal names a null, not a missing field.
                given.update({name: None for name in names if name in body})
        return given

    @classmethod
    def _names(cls) -> Iterator[tuple[tuple[str, ...], bool]]:
        """Yield the names that each field goes by, and whether it is required."""
        for name, field in cls.model_fields.items():
            alias = field.validation_alias
            names = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
            yield tuple(each for each in names if isinstance(each, str)), field.is_required()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Publish every name of a field, where pydantic knows the first, and the nulls."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        properties = schema["properties"]
        required, choices = [], []
        for names, is_required in cls._names():
            published = properties[names[0]]
            if is_required and len(names) == 1:
                required.append(names[0])
                continue
            if is_required:
                choices.append({"anyOf": [_requirement(name) for name in names]})
            properties[names[0]] = _or_null(published)
            for name in names[1:]:
                properties[name] = {**_or_null(published), "title": name}
        schema.pop("required", None)
        if required:
            schema["required"] = required
        if choices:
            schema["allOf"] = choices
        return reference


def _requirement(name: str) -> JsonSchemaValue:
    return {"required": [name], "properties": {name: {"not": _NULL}}}


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    annotations = {name: value for name, value in schema.items() if name in _ANNOTATIONS}
    own = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    options = own.get("anyOf", [own])
    return {"anyOf": options if _NULL in options else [*options, _NULL], **annotations}


class Answer(BaseModel):
    """A part of a response body."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


Truncated = Annotated[
    Literal[True] | None,
    Field(description="Present and true where text was cut to the model's length."),
]


class Usage(Answer):
    """Tokens that the model read, prompts and special tokens included, padding not."""

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class BodyRefusedError(ValueError):
    """The endpoint refuses a request's body with a 4xx; a retry would not help.

    Attributes:
        code: A machine-readable reason.
        param: The body's field at fault, where there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


Body = TypeVar("Body", bound=TextBody)


def parse_body(model: type[Body], body: Any, accepted: Accepted = NOTHING_MORE) -> Body:
    """Check a body against its model; ``BodyRefusedError`` names the first wrong field."""
    if isinstance(body, dict) and None in body.values():
        body = model.without_nulls(body)
    try:
        return model.model_validate(body, context=accepted)
    except ValidationError as error:
        raise BodyRefusedError(describe_validation_error(error), param=first_field(error)) from None


def is_token_id_or_ids(value: Any) -> bool:
    """Whether one of a list of inputs is no text, but a token id or a list of them."""
    return isinstance(value, int | list) and not isinstance(value, bool)


def check_texts(value: Any, accepted: Accepted = NOTHING_MORE) -> Any:
    """Refuse what is no text or list of texts; ``PydanticCustomError`` names the position."""
    if isinstance(value, str):
        if not value and not accepted.empty_texts:
            raise PydanticCustomError("empty_text", "must not be an empty string")
        return value
    if not isinstance(value, list):
        raise PydanticCustomError("no_text", "must be a string or a list of strings")
    if not value:
        raise PydanticCustomError("no_texts", "must hold at least one text")
    for position, text in enumerate(value):
        if is_token_id_or_ids(text):
            raise PydanticCustomError(
                "token_ids", "token ids are not accepted: send the text as a string"
            )
        if not isinstance(text, str):
            raise _at(position, "no_text", "must be a string")
        if not text and not accepted.empty_texts:
            raise _at(position, "empty_text", "must not be an empty string")
    return value


def _at(position: int, kind: str, problem: str) -> PydanticCustomError:
    context = {"position": position, "problem": problem}
    return PydanticCustomError(kind, "[{position}] {problem}", context)
