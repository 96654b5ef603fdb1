"""Follows the sampled records of a replica's calls, and hands over their spans when they end.

A record has a span here from the arrival of its call to its answer. A batch has one span, which is
linked with those of all its sampled records and stands in the trace of the first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from handoff.chunk import STATUS_FAILED, Chunk
from handoff.clock import Clock
from handoff.tracing import names
from handoff.tracing.spans import MOST_LINKS, AttributeValue, Ids, Span, SpanContext, SpanSink

_UNANSWERED = "unanswered"
_UNANSWERED_BECAUSE = "the call ended before this record was answered"


@dataclass(slots=True, eq=False)
class StepTrace:
    """A request of a pipeline's record to the model of one step; see ``RecordTraces``."""

    context: SpanContext
    step: str
    model: str
    began_at_s: float


@dataclass(slots=True, eq=False)
class _Followed:
    context: SpanContext
    parent: SpanContext
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    batches: list[SpanContext] = field(default_factory=list)
    steps: dict[StepTrace, None] = field(default_factory=dict)
    tokens: int = 0


class BatchMember(NamedTuple):
    """A sampled record of which texts are in a batch, once for each text."""

    traces: "RecordTraces"
    record: int
    tokens: int


class ReplicaTraces:
    """The traces of one replica.

    Args:
        sink: Takes spans that have ended.
        ids: Makes new ones.
        clock: The replica's.
        replica: Its name.
        model: The model's name in the settings.
        operation: What the model does; a record may say it more exactly (``RecordTraces.note``).
    """

    def __init__(
        self,
        sink: SpanSink,
        ids: Ids,
        clock: Clock,
        *,
        replica: str,
        model: str,
        operation: str,
    ) -> None:
        self.sink = sink
        self.ids = ids
        self.clock = clock
        self.replica = replica
        self.model = model
        self.operation = operation

    def of_call(self, chunk: Chunk) -> "RecordTraces | None":
        """Return the traces of a call's sampled records; ``None`` if it has none."""
        return RecordTraces(self, chunk.traces) if chunk.traces else None

    def batch_ended(
        self, members: Iterable[BatchMember], *, texts: int, tokens: int, took_s: float
    ) -> None:
        """Note a batch, before its records are answered; ``members`` are the sampled of them.

        ``tokens`` are those of all its texts, with padding.
        """
        records: dict[tuple[RecordTraces, int], int] = {}
        for traces, index, own_tokens in members:
            key = traces, index
            records[key] = records.get(key, 0) + own_tokens
        links = [each for traces, index in records if (each := traces.context(index)) is not None]
        if not links:
            return
        context = self.ids.child_of(links[0])
        for (traces, index), own_tokens in records.items():
            traces.was_in(context, index, own_tokens)
        now_s = self.clock.monotonic()
        batch = Span(
            name=f"batch {self.model}",
            kind="internal",
            context=context,
            parent=links[0],
            start_s=now_s - took_s,
            end_s=now_s,
            attributes={
                names.MODEL: self.model,
                names.REPLICA: self.replica,
                names.BATCH_TEXTS: texts,
                names.BATCH_TOKENS: tokens,
                names.BATCH_TRACED_RECORDS: len(links),
            },
            links=links[:MOST_LINKS],
        )
        self.sink.take([batch])


class RecordTraces:
    """The sampled records of one call, by their index in its chunk."""

    def __init__(self, replica: ReplicaTraces, parents: Mapping[int, SpanContext]) -> None:
        self._replica = replica
        self._arrived_at_s = replica.clock.monotonic()
        self._open = {
            index: _Followed(replica.ids.child_of(parent), parent)
            for index, parent in parents.items()
        }

    def context(self, index: int) -> SpanContext | None:
        """Return a record's span here; ``None`` if it is not sampled, or answered."""
        followed = self._open.get(index)
        return None if followed is None else followed.context

    def note(self, index: int, attributes: Mapping[str, AttributeValue]) -> None:
        followed = self._open.get(index)
        if followed is not None:
            followed.attributes.update(attributes)

    def was_in(self, batch: SpanContext, index: int, tokens: int) -> None:
        followed = self._open.get(index)
        if followed is not None:
            followed.batches.append(batch)
            followed.tokens += tokens

    def begin_step(self, index: int, step: str, model: str) -> StepTrace | None:
        """Note a request to a step's model; its context goes with the request."""
        followed = self._open.get(index)
        if followed is None:
            return None
        context = self._replica.ids.child_of(followed.context)
        trace = StepTrace(context, step, model, self._replica.clock.monotonic())
        followed.steps[trace] = None
        return trace

    def end_step(self, index: int, trace: StepTrace, status: int) -> None:
        followed = self._open.get(index)
        if followed is not None and trace in followed.steps:
            del followed.steps[trace]
            span = self._step(followed, trace, self._replica.clock.monotonic(), status)
            self._replica.sink.take([span])

    def answered(self, index: int, status: int) -> None:
        followed = self._open.pop(index, None)
        if followed is not None:
            is_failed = status >= STATUS_FAILED
            error = f"it was answered with status {status}" if is_failed else None
            self._end(followed, {names.STATUS_CODE: status}, str(status), error)

    def close(self) -> None:
        """End what is unanswered: nobody waits for it any more."""
        while self._open:
            _, followed = self._open.popitem()
            self._end(followed, {}, _UNANSWERED, _UNANSWERED_BECAUSE)

    def _end(
        self,
        followed: _Followed,
        outcome: Mapping[str, AttributeValue],
        error_type: str,
        error: str | None,
    ) -> None:
        replica = self._replica
        now_s = replica.clock.monotonic()
        attributes: dict[str, AttributeValue] = {
            names.MODEL: replica.model,
            names.REPLICA: replica.replica,
            **outcome,
            **followed.attributes,
        }
        operation = followed.attributes.get(names.GEN_AI_OPERATION, replica.operation)
        if operation == names.EMBEDDINGS:
            attributes[names.GEN_AI_OPERATION] = operation
            attributes[names.GEN_AI_PROVIDER] = names.SCOPE
            attributes[names.GEN_AI_REQUEST_MODEL] = replica.model
            if followed.tokens:
                attributes[names.GEN_AI_INPUT_TOKENS] = followed.tokens
        elif followed.tokens:
            attributes[names.TOKENS] = followed.tokens
        if error is not None:
            attributes[names.ERROR_TYPE] = error_type
        spans = [self._step(followed, each, now_s, None) for each in followed.steps]
        spans.append(
            Span(
                name=f"{operation} {replica.model}",
                kind="server",
                context=followed.context,
                parent=followed.parent,
                start_s=self._arrived_at_s,
                end_s=now_s,
                attributes=attributes,
                links=followed.batches[:MOST_LINKS],
                error=error,
            )
        )
        replica.sink.take(spans)

    def _step(
        self, followed: _Followed, trace: StepTrace, now_s: float, status: int | None
    ) -> Span:
        attributes: dict[str, AttributeValue] = {names.STEP: trace.step, names.MODEL: trace.model}
        error = None
        if status is None:
            # As where another step has refused the record already.
            attributes[names.OUTCOME] = _UNANSWERED
        else:
            attributes[names.STATUS_CODE] = status
            if status >= STATUS_FAILED:
                attributes[names.ERROR_TYPE] = str(status)
                error = f"the model answered with status {status}"
        return Span(
            name=f"step {trace.step}",
            kind="client",
            context=trace.context,
            parent=followed.context,
            start_s=trace.began_at_s,
            end_s=now_s,
            attributes=attributes,
            error=error,
        )
