"""Request lines to tokenized requests, and finished requests to response bodies.

Plain functions of their input, run in worker threads; an error in one record is that record's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.embeddings import (
    EMBEDDINGS_URL,
    BodyRefusedError,
    EmbeddingsBody,
    EncodingFormat,
    parse_embeddings_body,
)
from schemas.handoff import STATUS_FAILED
from schemas.results import encode_refusal_body
from serve_models.embedding_model import TextModel
from serve_models.encodings import VectorForm, encode_response_body, form_vectors
from serve_models.outcomes import ENDS_THE_TASK, encode_failure_body
from serve_models.tokenizing import TokenizedText


@dataclass(slots=True)
class Refusal:
    """A record's outcome where the model is not asked at all."""

    status: int
    body: bytes


@dataclass(slots=True)
class EmbeddingRequest:
    """A record that is ready for the model.

    Attributes:
        texts: Its texts, tokenized.
        form: What its vectors shall look like.
        encoding_format: How they are written.
        model: The name to answer with.
        vectors: One row for each text, filled in as batches finish.
        missing: Rows that are not there yet.
    """

    texts: list[TokenizedText]
    form: VectorForm
    encoding_format: EncodingFormat
    model: str
    vectors: list[NDArray[np.float32] | None] = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.texts)
        self.vectors = [None] * self.missing

    def place(self, position: int, vector: NDArray[np.float32]) -> bool:
        """Fill in one text's row; returns whether it was the last."""
        self.vectors[position] = vector
        self.missing -= 1
        return self.missing == 0


class EmbeddingsEndpoint:
    """Checks and tokenizes requests to ``/v1/embeddings``.

    Args:
        model: Tokenizes; names its prompts and sizes.
        name: The model's name in the settings.
        served_names: Other names that ``body.model`` may carry.
        max_inputs_per_request: The most texts of one record.
        normalize: Whether vectors are scaled to length 1 where the body does not say.
    """

    def __init__(
        self,
        model: TextModel,
        *,
        name: str,
        served_names: Collection[str],
        max_inputs_per_request: int,
        normalize: bool,
    ) -> None:
        self._model = model
        self._name = name
        self._names = {name, *served_names}
        self._max_inputs_per_request = max_inputs_per_request
        self._normalize = normalize

    def prepare(self, lines: Sequence[bytes]) -> list[EmbeddingRequest | Refusal]:
        """Check and tokenize records; each gets a request for the model, or its refusal."""
        bodies: list[EmbeddingsBody | Refusal] = [self._check(line) for line in lines]
        accepted = [body for body in bodies if isinstance(body, EmbeddingsBody)]
        texts = [text for body in accepted for text in body.texts]
        prompt_names = [body.prompt_name for body in accepted for _ in body.texts]
        try:
            tokenized = iter(self._model.tokenize(texts, prompt_names) if texts else [])
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- one record's text must not cost the others
            if len(lines) == 1:
                return [Refusal(STATUS_FAILED, encode_failure_body(error))]
            return [outcome for line in lines for outcome in self.prepare([line])]
        return [
            body
            if isinstance(body, Refusal)
            else self._request(body, [next(tokenized) for _ in body.texts])
            for body in bodies
        ]

    def _check(self, line: bytes) -> EmbeddingsBody | Refusal:
        try:
            return self._read(line)
        except BodyRefusedError as error:
            return _refusal(error)

    def _read(self, line: bytes) -> EmbeddingsBody:
        try:
            request = orjson.loads(line)
            url, body = request["url"], request["body"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise BodyRefusedError(
                "the value must be one JSON object with url and body", code="invalid_request_line"
            ) from None
        if url != EMBEDDINGS_URL:
            raise BodyRefusedError(
                f"url: model '{self._name}' answers {EMBEDDINGS_URL} only, not {url}",
                code="unknown_url",
                param="url",
                status=404,
            )
        parsed = parse_embeddings_body(body)
        if parsed.model is not None and parsed.model not in self._names:
            raise BodyRefusedError(
                f"model: this route serves {', '.join(sorted(self._names))}, not '{parsed.model}'; "
                "leave model out or name one of these",
                code="model_not_found",
                param="model",
                status=404,
            )
        if len(parsed.texts) > self._max_inputs_per_request:
            raise BodyRefusedError(
                f"input: {len(parsed.texts)} texts are over this model's limit of "
                f"{self._max_inputs_per_request} (max_inputs_per_request); split the request",
                param="input",
            )
        if parsed.dimensions is not None and parsed.dimensions > self._model.dims:
            raise BodyRefusedError(
                f"dimensions: {parsed.dimensions} is over the {self._model.dims} that the model "
                "has; ask for at most that",
                param="dimensions",
            )
        if parsed.prompt_name is not None and parsed.prompt_name not in self._model.prompts:
            known = ", ".join(sorted(self._model.prompts)) or "none"
            raise BodyRefusedError(
                f"prompt_name: no prompt '{parsed.prompt_name}'; the model has: {known}",
                param="prompt_name",
            )
        return parsed

    def _request(
        self, body: EmbeddingsBody, texts: list[TokenizedText]
    ) -> EmbeddingRequest | Refusal:
        if not body.truncation:
            for position, text in enumerate(texts):
                if text.truncated:
                    return _refusal(
                        BodyRefusedError(
                            f"input: text {position} is over the model's "
                            f"{self._model.max_seq_length_tokens} tokens; shorten it, or leave "
                            "truncation true to have it cut",
                            code="context_length_exceeded",
                            param="input",
                        )
                    )
        return EmbeddingRequest(
            texts=texts,
            form=VectorForm(
                dimensions=body.dimensions,
                normalize=self._normalize if body.normalize is None else body.normalize,
                output_dtype=body.output_dtype,
            ),
            encoding_format=body.encoding_format,
            model=body.model or self._name,
        )


def encode_requests(requests: Sequence[EmbeddingRequest]) -> list[bytes | BaseException]:
    """Return each finished request's response body, or what went wrong with it.

    Vectors of one form are brought into it together: numpy costs as much for a row as for a batch.
    """
    by_form: defaultdict[VectorForm, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        by_form[request.form].append(number)
    bodies: list[bytes | BaseException] = [b""] * len(requests)
    for form, numbers in by_form.items():
        try:
            rows = [row for number in numbers for row in requests[number].vectors]
            vectors = form_vectors(np.stack([row for row in rows if row is not None]), form)
            start = 0
            for number in numbers:
                request = requests[number]
                stop = start + len(request.texts)
                bodies[number] = encode_response_body(
                    vectors[start:stop],
                    [text.truncated for text in request.texts],
                    request.encoding_format,
                    request.model,
                    sum(text.tokens for text in request.texts),
                )
                start = stop
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- every request gets an outcome
            for number in numbers:
                bodies[number] = bodies[number] or error
    return bodies


def _refusal(error: BodyRefusedError) -> Refusal:
    return Refusal(error.status, encode_refusal_body(str(error), error.code, error.param))
