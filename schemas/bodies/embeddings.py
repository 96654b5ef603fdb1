"""``POST /v1/embeddings``: the request body as OpenAI defines it, and the response body.

Beyond OpenAI's fields: ``output_dtype`` as Voyage's and Jina's, ``input_type`` as Cohere's,
``prompt_name`` for models that were trained with prompts, ``normalize`` and ``truncation``.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
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


class TextPart(BaseModel):
    """A text of a list that has images too."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    text: str


class ImagePart(BaseModel):
    """An image to embed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    image: str = Field(
        description="data:image/png;base64,… or the same with jpeg or webp. Nothing is fetched."
    )


class EmbeddingsBody(TextBody):
    """What to embed and how the vectors come back. Fields that are not named here are ignored."""

    input: str | list[str] | list[int] | list[list[int]] | list[str | TextPart | ImagePart] = Field(
        description="One text, or a list of them; none may be empty, unless the model's setting "
        "accept_empty_texts is true. Where the model's "
        "setting accept_token_ids is true, also one text's token ids, or a list of such lists. "
        "Where the model reads images, a list may have objects with an image."
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
            if isinstance(value, list) and any(isinstance(each, dict) for each in value):
                return check_parts(value, accepted)
            return check_texts(value, accepted)
        if not accepted.token_ids:
            raise PydanticCustomError("token_ids", _SEND_TEXTS)
        return check_token_ids(value)

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in the order that the response numbers them; none of token ids."""
        return [each for each in self.texts_and_images if isinstance(each, str)]

    @property
    def texts_and_images(self) -> list[str | ImagePart]:
        """Both, in the order that the response numbers them; none of token ids."""
        if isinstance(self.input, str):
            return [self.input]
        return [each for each in self.input if isinstance(each, str | ImagePart)]

    @property
    def token_ids(self) -> list[list[int]]:
        """The texts to embed that came as token ids; none of texts."""
        if self._has_texts:
            return []
        lists = [each for each in self.input if isinstance(each, list)]
        return lists or [[each for each in self.input if isinstance(each, int)]]

    @property
    def _has_texts(self) -> bool:
        return isinstance(self.input, str) or isinstance(self.input[0], str | ImagePart)

    @property
    def inputs(self) -> int:
        """How many vectors are asked for."""
        is_one = isinstance(self.input, str) or isinstance(self.input[0], int)
        return 1 if is_one else len(self.input)


def check_parts(value: list[Any], accepted: Accepted) -> list[Any]:
    """Refuse what is no text, ``TextPart`` or ``ImagePart``; return text parts as their texts."""
    plain = [
        each["text"] if isinstance(each, dict) and each.keys() == {"text"} else each
        for each in value
    ]
    for position, each in enumerate(plain):
        if not isinstance(each, dict):
            continue
        context = {"position": position}
        if each.keys() != {"image"} or not isinstance(each["image"], str):
            raise PydanticCustomError(
                "no_part",
                "[{position}] must be a string, or an object of one image or text",
                context,
            )
        if not accepted.images:
            raise PydanticCustomError(
                "images", "[{position}] is an image, and this model reads text only", context
            )
    # A stand-in for each image keeps the positions of the messages.
    check_texts(["image" if isinstance(each, dict) else each for each in plain], accepted)
    return plain


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


class SparseEntries(Answer):
    """The components of a sparse vector that are not 0, by ascending index."""

    indices: list[int] | str = Field(
        description="Positions, in a sparse encoder those of the vocabulary; or base64 of "
        "little-endian int32."
    )
    values: list[float] | str = Field(
        description="The component at each of them; or base64 of little-endian float32."
    )


class SparseEmbedding(Answer):
    """One text's vector of a model with sparse vectors (SPLADE)."""

    object: Literal["sparse_embedding"]
    index: int = Field(ge=0, description="The text's position in input.")
    embedding: SparseEntries
    truncated: Truncated = None


class MultiVectorEmbedding(Answer):
    """One text's vectors of a model with many (ColBERT)."""

    object: Literal["multi_vector_embedding"]
    index: int = Field(ge=0, description="The text's position in input.")
    embedding: list[list[float] | list[int]] | str = Field(
        description="The vectors, one for each token that counts; or base64 of them, one after the "
        "other."
    )
    shape: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="With base64: how many vectors there are, and the components or bytes of each.",
    )
    truncated: Truncated = None


class EmbeddingsResponse(Answer):
    """The response body of a 200."""

    object: Literal["list"]
    data: list[Embedding | SparseEmbedding | MultiVectorEmbedding] = Field(min_length=1)
    model: str
    usage: Usage
