"""Turns request lines into tokenized requests, and finished requests into response bodies.

Runs in worker threads. An error in one record fails that record alone.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import orjson

from schemas.bodies.base import Accepted, BodyRefusedError, TextBody
from schemas.settings.models import EmbedderSettings, TextModelSettings
from schemas.wire.results import ErrorCode
from serve_models.chunks.failures import ENDS_THE_TASK, Refusal
from serve_models.text.models.base import Row, Rows
from serve_models.text.models.tokenizing import TokenizedText

Body = TypeVar("Body", bound=TextBody)


@dataclass(slots=True)
class TextRequest(Generic[Body]):
    """A record that is ready for the model (``batching.work.Request``).

    Attributes:
        rows: The model's row for each text, filled in as batches finish.
    """

    endpoint: "Endpoint[Body]"
    body: Body
    texts: list[TokenizedText]
    rows: list[Row | None] = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.texts)
        self.rows = [None] * self.missing

    def place(self, position: int, row: Row) -> bool:
        self.rows[position] = row
        self.missing -= 1
        return self.missing == 0

    @property
    def complete_rows(self) -> list[Row]:
        """The rows of all texts; none may be missing."""
        return [row for row in self.rows if row is not None]

    @property
    def stacked_rows(self) -> Rows:
        """The rows, float32 [texts, width]; none may be missing."""
        return np.stack(self.complete_rows)

    @property
    def usage(self) -> dict[str, int]:
        tokens = sum(text.tokens for text in self.texts)
        return {"prompt_tokens": tokens, "total_tokens": tokens}


@dataclass(frozen=True, slots=True)
class Served:
    name: str
    names: frozenset[str]
    max_inputs_per_request: int
    accepted: Accepted

    @classmethod
    def of(cls, name: str, settings: TextModelSettings, *, takes_images: bool = False) -> "Served":
        takes_ids = isinstance(settings, EmbedderSettings) and settings.accept_token_ids
        return cls(
            name,
            frozenset({name, *settings.served_names}),
            settings.max_inputs_per_request,
            Accepted(
                token_ids=takes_ids,
                empty_texts=settings.accept_empty_texts,
                images=takes_images,
            ),
        )

    def check_model(self, model: str | None) -> None:
        if model is not None and model not in self.names:
            raise BodyRefusedError(
                f"model: this route serves {', '.join(sorted(self.names))}, not '{model[:100]}'; "
                "leave model out or name one of these",
                code="model_not_found",
                param="model",
                status=404,
            )

    def check_inputs(self, inputs: int, param: str) -> None:
        if inputs > self.max_inputs_per_request:
            raise BodyRefusedError(
                f"{param}: {inputs} texts are over this model's limit of "
                f"{self.max_inputs_per_request} (max_inputs_per_request); split the request",
                param=param,
            )


class Endpoint(ABC, Generic[Body]):
    """One url of a text model: checks bodies, tokenizes their texts, writes responses.

    Messages name ``texts_field`` of the body. The model truncates a text over ``max_tokens``, if
    not ``None``.

    Attributes:
        repeats_texts: Whether the model may read more characters than a body has.
    """

    def __init__(self, url: str, texts_field: str, served: Served, max_tokens: int | None) -> None:
        self.url = url
        self.repeats_texts = False
        self._texts_field = texts_field
        self._served = served
        self._max_tokens = max_tokens

    @abstractmethod
    def parse(self, body: Any) -> Body:
        """Check a body against the endpoint and the model, or raise ``BodyRefusedError``."""

    @abstractmethod
    def tokenize(self, bodies: Sequence[Body]) -> list[list[TokenizedText]]:
        """Tokenize the texts of each body, in the order of the wanted rows."""

    def characters(self, body: Any) -> int | None:  # noqa: ARG002 -- for endpoints that repeat texts
        """Return how many characters of an unchecked body to tokenize.

        ``None`` where there are no more than the length of the body.
        """
        return None

    @abstractmethod
    def least_response_bytes(self, body: Body) -> int:
        """Return a lower bound of the response's bytes."""

    @abstractmethod
    def smaller_form(self, body: Body) -> str | None:
        """Return the advice that makes the response smaller, if there is any."""

    @abstractmethod
    def respond(self, request: TextRequest[Body]) -> bytes:
        """Return a finished request's response body."""

    def respond_all(self, requests: Sequence[TextRequest[Body]]) -> list[bytes | Refusal]:
        return [_respond_guarded(request) for request in requests]

    def prepare(
        self, bodies: Sequence[Any], max_body_bytes: int = 0
    ) -> list[TextRequest[Body] | Refusal]:
        parsed = [self._parse_or_refuse(body, max_body_bytes) for body in bodies]
        accepted = [body for body in parsed if not isinstance(body, Refusal)]
        try:
            tokenized = iter(self.tokenize(accepted) if accepted else [])
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- one record's text must not cost the others
            if len(bodies) == 1:
                return [Refusal.of(error)]
            return [outcome for body in bodies for outcome in self.prepare([body], max_body_bytes)]
        return [
            body if isinstance(body, Refusal) else self._request(body, next(tokenized))
            for body in parsed
        ]

    def truncated(
        self,
        body: Body,  # noqa: ARG002 -- for endpoints whose inputs are of several texts
        texts: Sequence[TokenizedText],
    ) -> list[bool]:
        """Return for each of the body's inputs whether it was cut to the model's length."""
        return [text.truncated for text in texts]

    def name_of(self, body: Body) -> str:
        """Return the model's name to answer with: the request's, if it has one."""
        return body.model or self._served.name

    def encode_list(self, request: TextRequest[Body], data: Sequence[Any]) -> bytes:
        return orjson.dumps(
            {
                "object": "list",
                "data": data,
                "model": self.name_of(request.body),
                "usage": request.usage,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    def _parse_or_refuse(self, body: Any, max_body_bytes: int) -> Body | Refusal:
        try:
            parsed = self.parse(body)
            if max_body_bytes:
                self._check_response_fits(parsed, max_body_bytes)
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- one record's body must not cost the others
            return Refusal.of(error)
        return parsed

    def _check_response_fits(self, body: Body, max_body_bytes: int) -> None:
        least_bytes = self.least_response_bytes(body)
        if least_bytes > max_body_bytes:
            smaller = self.smaller_form(body)
            raise BodyRefusedError(
                f"{self._texts_field}: the answer has at least {least_bytes:,} bytes, over the "
                f"{max_body_bytes:,} that this route's results may have; "
                f"{f'{smaller}, or ' if smaller else ''}split the request, or have the route take "
                "larger results (limits.max_result_bytes, claim_check)",
                code=ErrorCode.RESULT_TOO_LARGE.value,
                param=self._texts_field,
            )

    def _request(self, body: Body, texts: list[TokenizedText]) -> TextRequest[Body] | Refusal:
        if 0 in [text.tokens for text in texts]:
            # A model's row for no tokens depends on the rest of the batch.
            return Refusal.of(
                BodyRefusedError(
                    f"{self._texts_field}: an empty text has no tokens for this model to read; "
                    "leave it out",
                    param=self._texts_field,
                )
            )
        if not body.truncation:
            for position, is_truncated in enumerate(self.truncated(body, texts)):
                if is_truncated:
                    return Refusal.of(
                        BodyRefusedError(
                            f"{self._texts_field}: text {position} is over the model's "
                            f"{self._max_tokens} tokens; shorten it, or leave truncation true "
                            "to have it cut",
                            code="context_length_exceeded",
                            param=self._texts_field,
                        )
                    )
        return TextRequest(endpoint=self, body=body, texts=texts)


class Endpoints:
    """A text model's endpoints by url (``batching.work.RequestReader``)."""

    def __init__(self, name: str, endpoints: Collection[Endpoint[Any]]) -> None:
        self._name = name
        self._by_url = {endpoint.url: endpoint for endpoint in endpoints}
        self._repeats_texts = any(endpoint.repeats_texts for endpoint in endpoints)

    def characters(self, line: bytes) -> int:
        characters: int | None = None
        if self._repeats_texts:
            try:
                url, body = self._read(line)
            except BodyRefusedError:
                return len(line)
            characters = self._by_url[url].characters(body)
        return len(line) if characters is None else characters

    def prepare(
        self, lines: Sequence[bytes], max_body_bytes: int = 0
    ) -> list[TextRequest[Any] | Refusal]:
        prepared: dict[int, TextRequest[Any] | Refusal] = {}
        bodies: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        for number, line in enumerate(lines):
            try:
                url, body = self._read(line)
            except BodyRefusedError as error:
                prepared[number] = Refusal.of(error)
            else:
                bodies[url][number] = body
        for url, by_number in bodies.items():
            outcomes = self._by_url[url].prepare(list(by_number.values()), max_body_bytes)
            prepared.update(zip(by_number, outcomes, strict=True))
        return [prepared[number] for number in range(len(lines))]

    def respond(self, requests: Sequence[TextRequest[Any]]) -> list[bytes | Refusal]:
        numbers_by_endpoint: defaultdict[Endpoint[Any], list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            numbers_by_endpoint[request.endpoint].append(number)
        responses: list[bytes | Refusal] = [b""] * len(requests)
        for endpoint, numbers in numbers_by_endpoint.items():
            answers = endpoint.respond_all([requests[number] for number in numbers])
            for number, answer in zip(numbers, answers, strict=True):
                responses[number] = answer
        return responses

    def _read(self, line: bytes) -> tuple[str, Any]:
        try:
            request = orjson.loads(line)
            url, body = request["url"], request["body"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise BodyRefusedError(
                "the value must be one JSON object with url and body", code="invalid_request_line"
            ) from None
        if not isinstance(url, str) or url not in self._by_url:
            raise BodyRefusedError(
                f"url: model '{self._name}' answers {', '.join(sorted(self._by_url))} only, "
                f"not {url}",
                code="unknown_url",
                param="url",
                status=404,
            )
        return url, body


def _respond_guarded(request: TextRequest[Any]) -> bytes | Refusal:
    try:
        return request.endpoint.respond(request)
    except ENDS_THE_TASK:
        raise
    except BaseException as error:  # noqa: BLE001 -- every request gets an outcome
        return Refusal.of(error)
