"""``POST /v1/embeddings``: the request body as OpenAI defines it, and the response body.

Beyond OpenAI's fields: ``output_dtype`` as Voyage's and Jina's, ``input_type`` as Cohere's,
``prompt_name`` for models that were trained with prompts, ``normalize`` and ``truncation``.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.bodies.base import (
    INTEGRAL,
    NOTHING_MORE,
    Accepted,
    Answer,
    TextBody,
    Truncated,
    Usage,
    check_texts,
    is_token_id_or_ids,
    parse_body,
)

EMBEDDINGS_URL = "/v1/embeddings"

OutputDtype = Literal["float", "int8", "binary", "ubinary"]
EncodingFormat = Literal["float", "base64"]

_SEND_TEXTS = (
    "token ids are not accepted: send the text as a string. LangChain's OpenAIEmbeddings does so "
    "with check_embedding_ctx_length=False: its ids are OpenAI's, and mean other words to this "
    "model. Ids of the model's own tokenizer are taken where its setting accept_token_ids is true"
)


class EmbeddingsBody(TextBody):
    """What to embed and how the vectors come back. Fields that are not named here are ignored."""

    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="One text, or a list of them; none may be empty, unless the model's setting "
        "accept_empty_texts is true. Where the model's "
        "setting accept_token_ids is true, also one text's token ids, or a list of such lists."
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
        description="The model's prompt to put before each text, e.g. query or document.",
    )
    input_type: str | None = Field(
        default=None,
        description="What the texts are for, as Cohere's and Voyage's APIs have it: query or "
        "search_query, document, passage or search_document, classification, clustering. The "
        "model's prompt for that goes before each text, if it has one. prompt_name overrules it.",
    )
    normalize: bool | None = Field(
        default=None, description="Scale vectors to length 1; the model's setting where unset."
    )

    @field_validator("input", mode="before")
    @classmethod
    def _check_input(cls, value: Any, info: ValidationInfo) -> Any:
        accepted = info.context or NOTHING_MORE
        if not isinstance(value, list) or not any(map(is_token_id_or_ids, value)):
            return check_texts(value, accepted)
        if not accepted.token_ids:
            raise PydanticCustomError("token_ids", _SEND_TEXTS)
        return check_token_ids(value)

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in the order that the response numbers them; none of token ids."""
        if isinstance(self.input, str):
            return [self.input]
        return [each for each in self.input if isinstance(each, str)]

    @property
    def token_ids(self) -> list[list[int]]:
        """The texts to embed that came as token ids; none of texts."""
        if self._has_texts:
            return []
        lists = [each for each in self.input if isinstance(each, list)]
        return lists or [[each for each in self.input if isinstance(each, int)]]

    @property
    def _has_texts(self) -> bool:
        return isinstance(self.input, str) or isinstance(self.input[0], str)

    @property
    def inputs(self) -> int:
        """How many vectors are asked for."""
        is_one = isinstance(self.input, str) or isinstance(self.input[0], int)
        return 1 if is_one else len(self.input)


def check_token_ids(value: list[Any]) -> list[Any]:
    """Refuse what is no list of token ids, or of such lists; the error names the position."""
    for position, ids in enumerate(value if isinstance(value[0], list) else [value]):
        if not isinstance(ids, list) or not ids or any(type(each) is not int for each in ids):
            raise PydanticCustomError(
                "token_ids",
                "[{position}] must be a list of token ids, all whole numbers and at least one",
                {"position": position},
            )
    return value


def parse_embeddings_body(body: Any, accepted: Accepted = NOTHING_MORE) -> EmbeddingsBody:
    return parse_body(EmbeddingsBody, body, accepted)


class Embedding(Answer):
    """One text's vector."""

    object: Literal["embedding"]
    index: int = Field(ge=0, description="The text's position in input.")
    embedding: list[float] | list[int] | str = Field(
        description="Components or packed bits, or base64 of either."
    )
    truncated: Truncated = None


class EmbeddingsResponse(Answer):
    """The response body of a 200."""

    object: Literal["list"]
    data: list[Embedding] = Field(min_length=1)
    model: str
    usage: Usage
