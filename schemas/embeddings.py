"""``POST /v1/embeddings``: the request body as OpenAI defines it, and the response body.

Beyond OpenAI's fields: ``output_dtype`` as Voyage's and Jina's, ``prompt_name`` (or ``input_type``)
for models that were trained with prompts, ``normalize`` and ``truncation``.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from schemas.bodies import INTEGRAL, TextBody, Usage, check_texts, parse_body

EMBEDDINGS_URL = "/v1/embeddings"

OutputDtype = Literal["float", "int8", "binary", "ubinary"]
EncodingFormat = Literal["float", "base64"]


class EmbeddingsBody(TextBody):
    """What to embed and how the vectors come back. Fields that are not named here are ignored."""

    input: str | list[str] = Field(
        description="One text, or a list of them. No text may be empty; token ids are not accepted."
    )
    dimensions: Annotated[int, Field(ge=1), INTEGRAL] | None = Field(
        default=None, description="Keep this many leading components, then normalise again."
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

    @field_validator("input", mode="before")
    @classmethod
    def _texts_only(cls, value: Any) -> Any:
        return check_texts(value)

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in the order that the response numbers them."""
        return [self.input] if isinstance(self.input, str) else self.input


def parse_embeddings_body(body: Any) -> EmbeddingsBody:
    """Check a request body against the endpoint.

    Raises:
        BodyRefusedError: A field is missing or wrong; names the first such field in ``param``.
    """
    return parse_body(EmbeddingsBody, body)


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


class EmbeddingsResponse(BaseModel):
    """The response body of a 200."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    object: Literal["list"]
    data: list[Embedding] = Field(min_length=1)
    model: str
    usage: Usage
