"""What the request bodies of the text endpoints have in common, and how one is refused."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from schemas.requests import describe_validation_error


class TextBody(BaseModel):
    """A request body with texts in it. Fields that are not named are ignored; types are strict."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    model: str | None = Field(
        default=None, description="The model's name; the route's where unset."
    )
    truncation: bool = Field(
        default=True, description="Cut a text over the model's length; false: refuse it with 400."
    )


class Usage(BaseModel):
    """Tokens that the model read, prompts and special tokens included, padding not."""

    model_config = ConfigDict(extra="forbid")

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class BodyRefusedError(ValueError):
    """The endpoint refuses a request's body; the answer is a 4xx, and a retry would not help.

    Attributes:
        status: HTTP status, 400 to 499.
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


Body = TypeVar("Body", bound=BaseModel)


def parse_body(model: type[Body], body: Any) -> Body:
    """Check a request body against its endpoint.

    Raises:
        BodyRefusedError: A field is missing or wrong; names the first such field in ``param``.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        location = error.errors(include_url=False, include_context=False, include_input=False)[0][
            "loc"
        ]
        raise BodyRefusedError(
            describe_validation_error(error), param=str(location[0]) if location else None
        ) from None


def check_texts(value: Any) -> Any:
    """Refuse what is neither a text nor a list of texts, in words that say so.

    Raises:
        PydanticCustomError: Names the position at fault.
    """
    if isinstance(value, str):
        if not value:
            raise PydanticCustomError("empty_text", "must not be an empty string")
    elif not isinstance(value, list):
        raise PydanticCustomError("no_text", "must be a string or a list of strings")
    elif not value:
        raise PydanticCustomError("no_texts", "must hold at least one text")
    else:
        for position, text in enumerate(value):
            if isinstance(text, int | list) and not isinstance(text, bool):
                raise PydanticCustomError(
                    "token_ids", "token ids are not accepted: send the text as a string"
                )
            if not isinstance(text, str):
                raise PydanticCustomError(
                    "no_text", "[{position}] must be a string", {"position": position}
                )
            if not text:
                raise PydanticCustomError(
                    "empty_text",
                    "[{position}] must not be an empty string",
                    {"position": position},
                )
    return value
