"""``/classify``: bodies to texts, logits to response bodies."""

from collections.abc import Sequence
from typing import Any

import orjson

from schemas.bodies.base import parse_body
from schemas.bodies.classify import CLASSIFY_URL, ClassifyBody
from serve_models.text.endpoints.base import Endpoint, Served, TextRequest
from serve_models.text.endpoints.probabilities import Activation, apply_activation
from serve_models.text.models.classification import LabellingModel
from serve_models.text.models.tokenizing import TokenizedText


class ClassifyEndpoint(Endpoint[ClassifyBody]):
    def __init__(self, model: LabellingModel, served: Served) -> None:
        super().__init__(CLASSIFY_URL, "input", served, model.max_seq_length_tokens)
        self._model = model
        labels = model.labels
        shortest = min(labels, key=lambda label: len(orjson.dumps(label)))
        item = {"index": 0, "label": shortest, "probs": [0.0] * len(labels), "num_classes": 1}
        self._least_logits_bytes = len(orjson.dumps(item)) + len(",")
        by_label = {"probabilities": dict.fromkeys(labels, 0.0)}
        self._least_probabilities_bytes = len(orjson.dumps(by_label)) - len("{}") + len(",")

    def parse(self, body: Any) -> ClassifyBody:
        parsed = parse_body(ClassifyBody, body, self._served.accepted)
        self._served.check_model(parsed.model)
        self._served.check_inputs(len(parsed.texts), "input")
        return parsed

    def tokenize(self, bodies: Sequence[ClassifyBody]) -> list[list[TokenizedText]]:
        tokenized = iter(self._model.tokenize([text for body in bodies for text in body.texts]))
        return [[next(tokenized) for _ in body.texts] for body in bodies]

    def least_response_bytes(self, body: ClassifyBody) -> int:
        item_bytes = self._least_logits_bytes
        if self._gives_probabilities(body):
            item_bytes += self._least_probabilities_bytes
        return len(body.texts) * item_bytes

    def smaller_form(self, body: ClassifyBody) -> str | None:
        return "set use_activation to false" if self._gives_probabilities(body) else None

    def respond(self, request: TextRequest[ClassifyBody]) -> bytes:
        labels = self._model.labels
        logits = request.stacked_rows
        gives_probabilities = self._gives_probabilities(request.body)
        rows = apply_activation(logits, self._model.activation) if gives_probabilities else logits
        data: list[dict[str, Any]] = []
        for index, (row, text) in enumerate(zip(rows, request.texts, strict=True)):
            item: dict[str, Any] = {
                "index": index,
                "label": labels[int(row.argmax())],
                "probs": row,
                "num_classes": len(labels),
            }
            if gives_probabilities:
                item["probabilities"] = dict(zip(labels, row, strict=True))
            if text.truncated:
                item["truncated"] = True
            data.append(item)
        return self.encode_list(request, data)

    def _gives_probabilities(self, body: ClassifyBody) -> bool:
        is_regression = self._model.activation is Activation.IDENTITY
        return body.use_activation is not False and not is_regression
