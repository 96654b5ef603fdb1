"""What a generation's span says of it, by the conventions for generative models. Pure.

Each record is answered in a task of its own, whose context has its notes; a record that is not
sampled has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from handoff.tracing import names
from handoff.tracing.spans import AttributeValue
from serve_models.chunks.traces import RecordTraces

_CHAT_URL = "/v1/chat/completions"
_PROVIDER = "vllm"
_NOTES: ContextVar["Notes | None"] = ContextVar("notes", default=None)


class Notes:
    """Attributes of a record's span."""

    def __init__(self) -> None:
        self.attributes: dict[str, AttributeValue] = {}

    def asked(self, url: str, model: object, body: dict[str, Any]) -> None:
        operation = names.CHAT if url == _CHAT_URL else names.TEXT_COMPLETION
        self.attributes[names.GEN_AI_OPERATION] = operation
        self.attributes[names.GEN_AI_PROVIDER] = _PROVIDER
        self.attributes[names.GEN_AI_REQUEST_MODEL] = names.bounded(str(model))
        most_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
        if isinstance(most_tokens, int):
            self.attributes[names.GEN_AI_REQUEST_MAX_TOKENS] = most_tokens

    def timed(self, statistics: Any) -> None:
        """Note vLLM's ``RequestStateStats`` of one sequence; of several the first token counts."""
        first_s = statistics.first_token_latency
        earlier_s = self.attributes.get(names.GEN_AI_TIME_TO_FIRST_TOKEN)
        if not first_s or (isinstance(earlier_s, float) and earlier_s <= first_s):
            return
        self.attributes[names.GEN_AI_TIME_TO_FIRST_TOKEN] = float(first_s)
        times = (statistics.queued_ts, statistics.scheduled_ts, statistics.first_token_ts)
        queued_s, scheduled_s, first_token_s = times
        if all(times):
            self.attributes[names.QUEUE_S] = max(0.0, scheduled_s - queued_s)
            self.attributes[names.PREFILL_S] = max(0.0, first_token_s - scheduled_s)
            self.attributes[names.DECODE_S] = max(0.0, statistics.last_token_ts - first_token_s)

    def answered(self, response: Any) -> None:
        """Note OpenAI's response: no text of it, nor of the request."""
        self.attributes[names.GEN_AI_RESPONSE_ID] = str(response.id)
        self.attributes[names.GEN_AI_RESPONSE_MODEL] = names.bounded(str(response.model))
        self.attributes[names.GEN_AI_INPUT_TOKENS] = int(response.usage.prompt_tokens or 0)
        self.attributes[names.GEN_AI_OUTPUT_TOKENS] = int(response.usage.completion_tokens or 0)
        reasons = tuple(str(each.finish_reason) for each in response.choices)
        self.attributes[names.GEN_AI_FINISH_REASONS] = reasons


def notes() -> Notes | None:
    """Return the notes of the record that the current task answers, if it is sampled."""
    return _NOTES.get()


def note_question(url: str, model: object, body: dict[str, Any]) -> None:
    if (noted := _NOTES.get()) is not None:
        noted.asked(url, model, body)


def note_answer(response: Any) -> None:
    """Note OpenAI's response, where the current task's record is sampled."""
    if (noted := _NOTES.get()) is not None:
        noted.answered(response)


@contextmanager
def noting(traces: RecordTraces | None, index: int) -> Iterator[None]:
    """Have ``notes`` return those of a record; its span has them when this ends."""
    if traces is None or traces.context(index) is None:
        yield
        return
    found = Notes()
    token = _NOTES.set(found)
    try:
        yield
    finally:
        _NOTES.reset(token)
        traces.note(index, found.attributes)
