"""Follows the records that are sampled, and hands over their spans when they end.

A record has a span from its reading to the acknowledgement of its outcome, and under it one for
each handle call and one for the publishing. What is not sampled costs a look at its headers.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from consumer.engine.tracing.record_trace import CallTrace, RecordTrace
from consumer.engine.work import Call, WorkItem
from consumer.ports import Record
from handoff.chunk import Outcomes
from handoff.tracing import names
from handoff.tracing.sampling import Sampler
from handoff.tracing.spans import AttributeValue, Ids, Span, SpanContext, SpanSink
from schemas.wire.headers import NO_JOB, read_job
from schemas.wire.trace_context import read_trace_context

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_DROPPED = "dropped"
_CALL_LOST = "call_lost"
_DROPPED_BECAUSE = "the partition is another consumer's now, which begins this record anew"
_ANSWERED, _REFUSED = "answered", "refused"
_FIRST_REFUSED = 400


def _harmless(
    method: "Callable[Concatenate[Traces, P], T]",
) -> "Callable[Concatenate[Traces, P], T | None]":
    """Have a method return ``None`` rather than raise: records do not depend on their traces."""

    @functools.wraps(method)
    def call(traces: "Traces", /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(traces, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is only a trace's
            traces.note_defect(method.__name__, error)
            return None

    return call


class Traces:
    """The traces of one consumer; ``sink`` takes the spans of records that have ended.

    Attributes:
        defects: Failures of its own; the records went on without their spans.
    """

    def __init__(
        self, *, model: str, group: str, sampler: Sampler, ids: Ids, sink: SpanSink
    ) -> None:
        self._model = model
        self._group = group
        self._sampler = sampler
        self._ids = ids
        self._sink = sink
        self.defects = 0

    def note_defect(self, doing: str, error: Exception) -> None:
        self.defects += 1
        if self.defects == 1:
            log.warning(
                "traces: %s failed; records go on without these spans: %r",
                doing,
                error,
                exc_info=error,
                extra={"event": "observing_failed", "error_class": type(error).__name__},
            )

    @_harmless
    def begin(self, record: Record, now_s: float) -> RecordTrace | None:
        """Decide whether a record is sampled; ``None`` if it is not."""
        came_with = None
        if record.headers:
            needs_ids = not self._sampler.follows_parent
            came_with = read_trace_context(record.headers, needs_ids=needs_ids)
        context = self._sampler.begin(came_with, now_s)
        if context is None:
            return None
        parent = None
        if came_with is not None:
            parent = SpanContext(came_with.trace_id, came_with.span_id, context.state)
        job = read_job(record.headers)
        name = "" if job is NO_JOB else job[0].decode("utf-8", "replace")
        return RecordTrace(context, parent, names.bounded(name))

    @_harmless
    def sent(self, items: Sequence[WorkItem], now_s: float) -> dict[int, SpanContext] | None:
        """Note a call; return the spans of its sampled records, by their index in the chunk."""
        found = {}
        for index, item in enumerate(items):
            trace = item.trace
            if trace is not None:
                found[index] = self._ids.child_of(trace.context)
                trace.sent(CallTrace(found[index], item.attempts, now_s))
        return found or None

    @_harmless
    def answered(self, answers: Iterable[tuple[Call, Outcomes]], now_s: float) -> None:
        """Note outcomes of calls, before the calls let go of their records."""
        for call, outcomes in answers:
            for index, status in zip(outcomes.indexes, outcomes.statuses, strict=True):
                item = call.unanswered_at(index)
                if item is not None and item.trace is not None:
                    item.trace.answered(status, outcomes.replica, now_s)

    @_harmless
    def failed(self, items: Iterable[WorkItem], reason: str, now_s: float) -> None:
        """Note why a call failed for these records, or had no outcome."""
        for item in items:
            if item.trace is not None:
                item.trace.call_failed(reason, now_s)

    @_harmless
    def ended(self, items: Iterable[WorkItem], now_s: float) -> None:
        """Hand over the spans of records whose outcome is acknowledged; they are not let go yet."""
        for item in items:
            if item.trace is not None:
                self._sink.take(self._spans(item, item.trace, now_s))
                item.trace = None

    @_harmless
    def dropped(self, item: WorkItem) -> None:
        """The same for one that has no outcome here."""
        trace = item.trace
        if trace is None:
            return
        trace.error_code, trace.error = _DROPPED, _DROPPED_BECAUSE
        times = [each.ended_at_s or each.sent_at_s for each in trace.calls]
        last_s = max((item.received_at_s, item.decided_at_s, *times))
        self._sink.take(self._spans(item, trace, last_s))
        item.trace = None

    def _spans(self, item: WorkItem, trace: RecordTrace, now_s: float) -> list[Span]:
        spans = [self._process(item, trace, now_s)]
        spans += [self._called(each, trace, now_s) for each in trace.calls]
        if trace.error_code != _DROPPED:
            spans += self._sendings(item, trace, now_s)
        return spans

    def _process(self, item: WorkItem, trace: RecordTrace, now_s: float) -> Span:
        partition, offset = item.record.partition, item.record.offset
        attributes: dict[str, AttributeValue] = {
            names.MESSAGING_SYSTEM: names.KAFKA,
            names.MESSAGING_OPERATION_TYPE: names.PROCESS,
            names.MESSAGING_OPERATION_NAME: names.PROCESS,
            names.MESSAGING_DESTINATION: partition.topic,
            names.MESSAGING_PARTITION: str(partition.partition),
            names.MESSAGING_CONSUMER_GROUP: self._group,
            names.KAFKA_OFFSET: offset,
        }
        # The encoder takes as long for an attribute as the engine for a step of a record.
        if item.attempts != 1:
            attributes[names.ATTEMPTS] = item.attempts
        if item.custom_id:
            attributes[names.CUSTOM_ID] = names.bounded(item.custom_id)
        if trace.job:
            attributes[names.JOB] = trace.job
        if trace.error is not None:
            attributes[names.OUTCOME] = attributes[names.ERROR_TYPE] = trace.error_code
        else:
            is_refused = trace.status_code >= _FIRST_REFUSED
            attributes[names.OUTCOME] = _REFUSED if is_refused else _ANSWERED
            attributes[names.STATUS_CODE] = trace.status_code
        return Span(
            name=f"{names.PROCESS} {partition.topic}",
            kind="consumer",
            context=trace.context,
            parent=trace.parent,
            start_s=item.received_at_s,
            end_s=now_s,
            attributes=attributes,
            error=trace.error,
        )

    def _called(self, call: CallTrace, trace: RecordTrace, now_s: float) -> Span:
        attributes: dict[str, AttributeValue] = {}
        if call.number != 1:
            attributes[names.ATTEMPT] = call.number
        if call.replica:
            attributes[names.REPLICA] = call.replica
        if call.status:
            attributes[names.STATUS_CODE] = call.status
        if call.error is not None:
            attributes[names.ERROR_TYPE] = str(call.status or _CALL_LOST)
        return Span(
            name=f"call {self._model}",
            kind="client",
            context=call.context,
            parent=trace.context,
            start_s=call.sent_at_s,
            end_s=now_s if call.ended_at_s is None else call.ended_at_s,
            attributes=attributes,
            error=call.error,
        )

    def _sendings(self, item: WorkItem, trace: RecordTrace, now_s: float) -> list[Span]:
        return [
            Span(
                name=f"{names.SEND} {message.topic}",
                kind="producer",
                context=self._ids.child_of(trace.context),
                parent=trace.context,
                start_s=item.decided_at_s,
                end_s=now_s,
                attributes={
                    names.MESSAGING_SYSTEM: names.KAFKA,
                    names.MESSAGING_OPERATION_TYPE: names.SEND,
                    names.MESSAGING_OPERATION_NAME: names.SEND,
                    names.MESSAGING_DESTINATION: message.topic,
                },
            )
            for message in item.messages
        ]
