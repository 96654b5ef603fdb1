"""``POST /v1/embeddings``: the request body as OpenAI defines it, and the response body.

Beyond OpenAI's fields: ``output_dtype`` as Voyage's and Jina's, ``prompt_name`` (or ``input_type``)
for models that were trained with prompts, ``normalize`` and ``truncation``.
"""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from schemas.requests import describe_validation_error

EMBEDDINGS_URL = "/v1/embeddings"

OutputDtype = Literal["float", "int8", "binary", "ubinary"]
EncodingFormat = Literal["float", "base64"]


class EmbeddingsBody(BaseModel):
    """What to embed and how the vectors come back. Fields that are not named here are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    input: str | list[str] = Field(
        description="One text, or a list of them. No text may be empty; token ids are not accepted."
    )
    model: str | None = Field(
        default=None, description="The model's name; the route's where unset."
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Keep this many leading components, then normalise again."
    )
    encoding_format: EncodingFormat = Field(
        default="float",
        description="base64: little-endian float32, or one byte a component for the integer types.",
    )
    output_dtype: OutputDtype = Field(
        default="float",
        description="int8: scaled by the vector's own largest component. binary and ubinary: one "
        "bit a component, packed into int8 (shifted by -128) or uint8.",
    )
    prompt_name: str | None = Field(
        default=None,
        validation_alias=AliasChoices("prompt_name", "input_type"),
        description="The model's prompt to put before each text, e.g. query or document.",
    )
    normalize: bool | None = Field(
        default=None, description="Scale vectors to length 1; the model's setting where unset."
    )
    truncation: bool = Field(
        default=True, description="Cut a text over the model's length; false: refuse it with 400."
    )

    @field_validator("input", mode="before")
    @classmethod
    def _texts_only(cls, value: Any) -> Any:
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

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in the order that the response numbers them."""
        return [self.input] if isinstance(self.input, str) else self.input


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


def parse_embeddings_body(body: Any) -> EmbeddingsBody:
    """Check a request body against the endpoint.

    Raises:
        BodyRefusedError: A field is missing or wrong; names the first such field in ``param``.
    """
    try:
        return EmbeddingsBody.model_validate(body)
    except ValidationError as error:
        location = error.errors(include_url=False, include_context=False, include_input=False)[0][
            "loc"
        ]
        raise BodyRefusedError(
            describe_validation_error(error), param=str(location[0]) if location else None
        ) from None


class Embedding(BaseModel):
    """One text's vector."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["embedding"]
    index: int = Field(ge=0, description="The text's position in input.")
    embedding: list[float] | list[int] | str = Field(
        description="Components or packed bits, or base64 of either."
    )
    truncated: Literal[True] | None = Field(
        default=None, description="Present and true where the text was over the model's length."
    )


class EmbeddingsUsage(BaseModel):
    """Tokens that the model read, prompts and special tokens included, padding not."""

    model_config = ConfigDict(extra="forbid")

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class EmbeddingsResponse(BaseModel):
    """The response body of a 200."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    object: Literal["list"]
    data: list[Embedding] = Field(min_length=1)
    model: str
    usage: EmbeddingsUsage
