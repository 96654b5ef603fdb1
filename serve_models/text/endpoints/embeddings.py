"""``/v1/embeddings``: bodies to texts, vectors to response bodies."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.bodies.base import BodyRefusedError
from schemas.bodies.embeddings import (
    EMBEDDINGS_URL,
    EmbeddingsBody,
    EncodingFormat,
    ImagePart,
    OutputDtype,
    parse_embeddings_body,
)
from serve_models.chunks.failures import ENDS_THE_TASK, Refusal
from serve_models.text.endpoints.base import Endpoint, Served, TextRequest
from serve_models.text.endpoints.reading import ReadingModel
from serve_models.text.endpoints.vectors import (
    VectorForm,
    encode_response_body,
    form_vectors,
    least_vector_bytes,
)
from serve_models.text.models.images import (
    ImageLimits,
    ImageRefusedError,
    image_content,
    read_image,
)
from serve_models.text.models.prompts import PURPOSES
from serve_models.text.models.tokenizing import TokenizedText

_ITEM_BYTES = len('{"object":"embedding","index":0,"embedding":},')
_NO_IMAGES = ImageLimits(max_bytes=0, max_pixels=0)
_FORMS_KEPT = 256
"""How many of the requested vector forms have their sizes remembered."""


class EmbeddingsEndpoint(Endpoint[EmbeddingsBody]):
    def __init__(
        self,
        model: ReadingModel,
        served: Served,
        *,
        normalize: bool,
        image_limits: ImageLimits = _NO_IMAGES,
    ) -> None:
        super().__init__(EMBEDDINGS_URL, "input", served, model.max_seq_length_tokens)
        self._image_limits = image_limits
        self._model = model
        self._normalize = normalize
        self._least_item_bytes = lru_cache(_FORMS_KEPT)(partial(_least_item_bytes, model.sample))

    def parse(self, body: Any) -> EmbeddingsBody:
        parsed = parse_embeddings_body(body, self._served.accepted)
        self._served.check_model(parsed.model)
        self._served.check_inputs(parsed.inputs, "input")
        if parsed.dimensions is not None and parsed.dimensions > self._model.width:
            raise BodyRefusedError(
                f"dimensions: {parsed.dimensions} is over the {self._model.width} that the model "
                "has; ask for at most that",
                param="dimensions",
            )
        for field, name in (("prompt_name", parsed.prompt_name), ("input_type", parsed.input_type)):
            if name is not None:
                self._check_prompt(parsed, field, name)
        if self._served.accepted.token_ids:
            self._check_token_ids(parsed)
        if self._served.accepted.images:
            self._check_images(parsed)
        return parsed

    def _check_images(self, body: EmbeddingsBody) -> None:
        for position, each in enumerate(body.texts_and_images):
            if isinstance(each, ImagePart):
                try:
                    read_image(each.image, self._image_limits)
                except ImageRefusedError as error:
                    raise BodyRefusedError(f"input: [{position}] {error}", param="input") from None

    def _check_prompt(self, body: EmbeddingsBody, field: str, name: str) -> None:
        prompt = self._model.prompts.find(name)
        if prompt is None and not (field == "input_type" and name in PURPOSES):
            known = ", ".join(self._model.prompts.names) or "none"
            raise BodyRefusedError(
                f"{field}: no prompt '{name[:100]}'; the model has: {known}", param=field
            )
        if prompt and body.token_ids:
            raise BodyRefusedError(
                f"{field}: the prompt '{name[:100]}' cannot be put before token ids; leave it "
                "out, or send texts",
                param=field,
            )

    def _check_token_ids(self, body: EmbeddingsBody) -> None:
        vocabulary_tokens = self._model.vocabulary_tokens
        for position, ids in enumerate(body.token_ids):
            if min(ids) < 0 or max(ids) >= vocabulary_tokens:
                raise BodyRefusedError(
                    f"input: [{position}] has token ids that are not of this model's vocabulary, "
                    f"0 to {vocabulary_tokens - 1}: send those of its own tokenizer, or the text",
                    param="input",
                )

    def tokenize(self, bodies: Sequence[EmbeddingsBody]) -> list[list[TokenizedText]]:
        texts: list[str] = []
        names: list[str | None] = []
        for body in bodies:
            own = body.texts
            texts += own
            names += [_prompt_name(body)] * len(own)
        tokenized = iter(self._model.tokenize(texts, names))
        return [
            [
                next(tokenized) if isinstance(each, str) else self._take_image(each, body)
                for each in body.texts_and_images
            ]
            or self._model.take_token_ids(body.token_ids)
            for body in bodies
        ]

    def _take_image(self, part: ImagePart, body: EmbeddingsBody) -> TokenizedText:
        return self._model.take_images([image_content(part.image)], [_prompt_name(body)])[0]

    def least_response_bytes(self, body: EmbeddingsBody) -> int:
        return body.inputs * self._least_item_bytes(
            self._normalize if body.normalize is None else body.normalize,
            body.dimensions,
            body.output_dtype,
            body.encoding_format,
        )

    def smaller_form(self, body: EmbeddingsBody) -> str | None:
        return "set encoding_format to base64" if body.encoding_format == "float" else None

    def respond(self, request: TextRequest[EmbeddingsBody]) -> bytes:
        return self._encode(
            request, form_vectors(request.stacked_rows, self._form_of(request.body))
        )

    def respond_all(self, requests: Sequence[TextRequest[EmbeddingsBody]]) -> list[bytes | Refusal]:
        """Form the vectors of one form together: numpy costs as much for a row as for a batch."""
        by_form: defaultdict[VectorForm, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            by_form[self._form_of(request.body)].append(number)
        bodies: list[bytes | Refusal] = [b""] * len(requests)
        for form, numbers in by_form.items():
            try:
                rows = [row for number in numbers for row in requests[number].rows]
                vectors = form_vectors(np.stack([row for row in rows if row is not None]), form)
                start = 0
                for number in numbers:
                    request = requests[number]
                    stop = start + len(request.texts)
                    bodies[number] = self._encode(request, vectors[start:stop])
                    start = stop
            except ENDS_THE_TASK:
                raise
            except BaseException as error:  # noqa: BLE001 -- every request gets an outcome
                for number in numbers:
                    bodies[number] = bodies[number] or Refusal.of(error)
        return bodies

    def _form_of(self, body: EmbeddingsBody) -> VectorForm:
        return VectorForm(
            dimensions=body.dimensions,
            normalize=self._normalize if body.normalize is None else body.normalize,
            output_dtype=body.output_dtype,
        )

    def _encode(self, request: TextRequest[EmbeddingsBody], vectors: Any) -> bytes:
        return encode_response_body(
            vectors,
            [text.truncated for text in request.texts],
            request.body.encoding_format,
            self.name_of(request.body),
            request.usage["prompt_tokens"],
        )


def _prompt_name(body: EmbeddingsBody) -> str | None:
    return body.prompt_name or body.input_type


def _least_item_bytes(
    sample: NDArray[np.float32],
    normalize: bool,
    dimensions: int | None,
    output_dtype: OutputDtype,
    encoding_format: EncodingFormat,
) -> int:
    form = VectorForm(dimensions, normalize, output_dtype)
    return _ITEM_BYTES + least_vector_bytes(sample, form, encoding_format)
