"""``AsyncHeadrace``: each method sends a request, and returns when its result arrives."""

import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from headrace_client.calls import answers, openai_types
from headrace_client.calls.answers import Classification, Embeddings, Reranking, Scores
from headrace_client.calls.caller import Caller
from headrace_client.calls.jobs import SubmittedJob
from headrace_client.calls.options import ClientOptions, Options
from headrace_client.calls.sender import Sender
from headrace_client.errors import SettingsError
from headrace_client.wire import names
from headrace_client.wire.results import Result

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion

Texts = str | Sequence[str] | Sequence[Mapping[str, Any]] | Sequence[Sequence[int]]


class AsyncHeadrace:
    """A client of a running service, for asyncio.

    ``config`` is the settings file, or the first of ``$HEADRACE_CONFIG`` and ``./headrace.yaml``;
    ``ClientOptions`` documents the other arguments. Kafka is opened with the first call; close the
    client with ``async with`` or ``close()``.

    Every call takes ``route`` (a route's name), ``model`` (goes into the body, and finds the route)
    and ``timeout_s`` (sets the request's deadline). Cancelling the task that awaits a call cancels
    the request, if the route has a control topic. Calls raise:

    * ``RequestRefusedError``: the endpoint refused the body (a 4xx); ``param`` names the field.
    * ``RequestFailedError``: the service gave the request up; ``code`` says why.
    * ``RequestCancelledError``, ``RequestExpiredError``.
    * ``ResultTimeoutError``: no result within ``timeout_s``; says what the service does meanwhile.
    * ``DeliveryError``, ``KafkaError``, ``RouteError``, ``SettingsError``, ``ClosedError``.
    """

    def __init__(
        self, config: str | os.PathLike[str] | None = None, /, **options: Unpack[Options]
    ) -> None:
        if config is not None:
            options["config"] = config
        self._caller = Caller(ClientOptions.of(options))
        self._sender = Sender(self._caller)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close; calls that wait raise ``ClosedError``."""
        await self._caller.close()

    async def open(self, route: str | None = None) -> None:
        """Open Kafka now, and so find out now whether that works; raises ``KafkaError``."""
        await self._caller.open(self._caller.find_route(None, route, None))

    async def request(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        route: str | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """Send any body to any endpoint, and return its result line, of status 200."""
        return await self._sender.request(url, body, route, timeout_s)

    async def embed(
        self,
        /,
        inputs: Texts,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: str | None = None,
        output_dtype: str = answers.FLOAT,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Embeddings:
        """Return one vector a text; a long list is split into requests and put together.

        ``input_type`` is ``query`` or ``document``, or another one that the model has a prompt for.
        ``output_dtype`` is ``float``, ``int8``, ``binary`` or ``ubinary``. Other fields go into the
        body.
        """
        if output_dtype not in answers.OUTPUT_DTYPES:
            raise SettingsError(f"output_dtype: is one of {', '.join(answers.OUTPUT_DTYPES)}")
        body = _body(
            fields,
            model=model,
            dimensions=dimensions,
            input_type=input_type,
            output_dtype=None if output_dtype == answers.FLOAT else output_dtype,
            encoding_format="base64",
        )
        parts = await self._sender.in_parts(
            names.EMBEDDINGS_URL, body, "input", _listed(inputs), route, timeout_s
        )
        return answers.join_embeddings([part for _first, part in parts], output_dtype)

    async def classify(
        self,
        /,
        inputs: Texts,
        *,
        model: str | None = None,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Classification:
        """Return one label a text; a long list is split into requests and put together."""
        parts = await self._sender.in_parts(
            names.CLASSIFY_URL,
            _body(fields, model=model),
            "input",
            _listed(inputs),
            route,
            timeout_s,
        )
        return answers.join_labels([part for _first, part in parts])

    async def rerank(
        self,
        /,
        query: str,
        documents: Sequence[str] | Sequence[Mapping[str, Any]],
        *,
        top_n: int | None = None,
        model: str | None = None,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Reranking:
        """Return the documents from the best to the worst; only the best ``top_n`` if given."""
        parts = await self._sender.in_parts(
            names.RERANK_URL,
            _body(fields, model=model, query=query, top_n=top_n),
            "documents",
            list(documents),
            route,
            timeout_s,
        )
        return answers.join_rerankings(
            [part for _first, part in parts], [first for first, _part in parts], top_n
        )

    async def score(
        self,
        /,
        query: str,
        documents: Sequence[str] | Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Scores:
        """Return one score a document, in their order."""
        parts = await self._sender.in_parts(
            names.SCORE_URL,
            _body(fields, model=model, queries=query),
            "documents",
            list(documents),
            route,
            timeout_s,
        )
        return answers.join_scores([part for _first, part in parts])

    async def chat(
        self,
        /,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> "ChatCompletion":
        """Return an ``openai`` ``ChatCompletion``, or a ``Body`` where openai is not installed."""
        body = _body(fields, model=model, messages=messages)
        result = await self._sender.request(names.CHAT_URL, body, route, timeout_s)
        completion: ChatCompletion = openai_types.typed(openai_types.CHAT, result.body, result.id)
        return completion

    async def complete(
        self,
        /,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        model: str | None = None,
        route: str | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> "Completion":
        """Return an ``openai`` ``Completion``, or a ``Body`` where openai is not installed."""
        body = _body(fields, model=model, prompt=prompt)
        result = await self._sender.request(names.COMPLETIONS_URL, body, route, timeout_s)
        completion: Completion = openai_types.typed(openai_types.COMPLETION, result.body, result.id)
        return completion

    async def submit(
        self,
        lines: Iterable[Any] | AsyncIterable[Any],
        *,
        job: str,
        route: str | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> SubmittedJob:
        """Publish request lines (bytes, text or mappings) as a job, and return it at once.

        ``deadline`` is when results are of no use any more. Read ``job.results()``: what is in
        flight is bounded, so that without a reader nothing more is sent.
        """
        found = self._caller.find_route(None, route, None)
        started = SubmittedJob(self._caller, job, found, lines, deadline)
        await started.start()
        return started


def _listed(inputs: Texts) -> list[Any]:
    return [inputs] if isinstance(inputs, str) else list(inputs)


def _body(fields: dict[str, Any], **named: Any) -> dict[str, Any]:
    return {**fields, **{name: value for name, value in named.items() if value is not None}}
