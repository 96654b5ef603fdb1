"""``/v1/embeddings`` of models that have a sparse vector, or many vectors, for a text."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.bodies.base import BodyRefusedError
from schemas.bodies.embeddings import EmbeddingsBody
from serve_models.chunks.failures import Refusal
from serve_models.text.endpoints.base import Endpoint, TextRequest
from serve_models.text.endpoints.embeddings import EmbeddingsEndpoint
from serve_models.text.endpoints.vectors import form_vectors
from serve_models.text.other_vectors.sparse import SparseVector

_LEAST_ITEM_BYTES = len('{"object":"sparse_embedding","index":0,"embedding":},')


class _OwnFormEndpoint(EmbeddingsEndpoint):
    """Its vectors differ in shape, so that none are formed together."""

    def respond_all(self, requests: Sequence[TextRequest[EmbeddingsBody]]) -> list[bytes | Refusal]:
        return Endpoint.respond_all(self, requests)


class SparseEmbeddingsEndpoint(_OwnFormEndpoint):
    """Answers with the indices and values of the components that are not 0."""

    def parse(self, body: Any) -> EmbeddingsBody:
        parsed = super().parse(body)
        for field, is_asked in (
            ("dimensions", parsed.dimensions is not None),
            ("output_dtype", parsed.output_dtype != "float"),
            ("normalize", parsed.normalize is True),
        ):
            if is_asked:
                raise BodyRefusedError(
                    f"{field}: does not go with this model, whose vectors are sparse; leave it out",
                    param=field,
                )
        return parsed

    def least_response_bytes(self, body: EmbeddingsBody) -> int:
        # A vector may have no component at all.
        return body.inputs * _LEAST_ITEM_BYTES

    def respond(self, request: TextRequest[EmbeddingsBody]) -> bytes:
        is_base64 = request.body.encoding_format == "base64"
        return self.encode_list(
            request,
            _items(
                "sparse_embedding",
                request,
                [{"embedding": _sparse(row, is_base64=is_base64)} for row in request.complete_rows],
            ),
        )


class MultiVectorEmbeddingsEndpoint(_OwnFormEndpoint):
    """Answers with a list of vectors for each text, or with their base64 and shape."""

    def least_response_bytes(self, body: EmbeddingsBody) -> int:
        return body.inputs * _LEAST_ITEM_BYTES

    def respond(self, request: TextRequest[EmbeddingsBody]) -> bytes:
        form = self._form_of(request.body)
        is_base64 = request.body.encoding_format == "base64"
        vectors = [form_vectors(row, form) for row in request.complete_rows]
        return self.encode_list(
            request,
            _items(
                "multi_vector_embedding",
                request,
                [_multi_vector(each, is_base64=is_base64) for each in vectors],
            ),
        )


def _items(
    kind: str, request: TextRequest[EmbeddingsBody], parts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    items = []
    for index, (part, text) in enumerate(zip(parts, request.texts, strict=True)):
        item = {"object": kind, "index": index, **part}
        if text.truncated:
            item["truncated"] = True
        items.append(item)
    return items


def _sparse(entries: SparseVector, *, is_base64: bool) -> dict[str, Any]:
    indices = np.ascontiguousarray(entries["index"])
    values = np.ascontiguousarray(entries["value"])
    if is_base64:
        return {"indices": _base64(indices), "values": _base64(values)}
    return {"indices": indices, "values": values}


def _multi_vector(vectors: Any, *, is_base64: bool) -> dict[str, Any]:
    if is_base64:
        return {"embedding": _base64(vectors), "shape": list(vectors.shape)}
    return {"embedding": vectors}


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).data).decode("ascii")
