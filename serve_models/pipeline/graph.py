"""A pipeline's graph of steps, and one record's run through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED
from schemas.settings.pipeline_references import REQUEST, parse_reference
from schemas.settings.pipelines import PipelineSettings, Refusal, StepSettings
from schemas.wire.results import encode_refusal_body
from serve_models.pipeline.values import MissingValueError, Values, holds


@dataclass(frozen=True, slots=True)
class StepRequest:
    """A request line (UTF-8 JSON) for the model of a step."""

    step: str
    model: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Ending:
    """A record's outcome: a status as in ``handoff.chunk.Outcomes`` and a ``response.body``."""

    status: int
    body: bytes


class StepAnswerError(ValueError):
    """A step's model failed: its response is not JSON. The record may be retried."""


class PipelineGraph:
    """The steps of a pipeline, and what each needs.

    Attributes:
        read_steps: Steps whose responses a reference reads; the others' are not even parsed.
    """

    def __init__(self, name: str, settings: PipelineSettings) -> None:
        self.name = name
        self.answer = settings.answer
        self.steps: Mapping[str, StepSettings] = settings.steps
        self.needs = {step: each.needs(step) for step, each in settings.steps.items()}
        roots = {ref.root for each in settings.steps.values() for ref in each.references}
        self.read_steps = frozenset(roots - {REQUEST})
        self._has_guard = any(step.refuse for step in settings.steps.values())
        self._urls = settings.endpoints
        self._own_names = {name, *settings.served_names}

    def start(self, line: bytes) -> "RecordRun | Ending":
        try:
            request = orjson.loads(line)
            url, body = request["url"], request["body"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            url, body = None, None
        if not isinstance(url, str) or not isinstance(body, dict):
            return _refuse(
                "the value must be one JSON object with url and body", "invalid_request_line"
            )
        if url not in self._urls:
            message = f"url: '{self.name}' answers {', '.join(sorted(self._urls))}, not {url}"
            return Ending(404, encode_refusal_body(message, "unknown_url", "url"))
        model = body.get("model")
        is_own_name = isinstance(model, str) and model in self._own_names
        if is_own_name:
            # The steps' models do not know the pipeline's name; their own name stays.
            del body["model"]
        if is_own_name or self._has_guard:
            # Pass on what was checked: another reader might take the other value of a duplicate
            # key.
            try:
                line = orjson.dumps(request)
            except orjson.JSONEncodeError as error:
                return _refuse(f"body: cannot be passed on ({error}); nest it less", "nested_body")
        return RecordRun(self, request, line)


class RecordRun:
    """One record's run through the graph: a state machine over the answers of its steps.

    The request's ``body`` is an object too; ``line`` is for steps that pass it on unchanged.
    """

    def __init__(self, graph: PipelineGraph, request: dict[str, Any], line: bytes) -> None:
        self._graph = graph
        self._request = request
        self._line = line
        self._values = Values(request)
        self._done: set[str] = set()
        self._asked: set[str] = set()
        self._answer = Ending(STATUS_FAILED, b"")
        self.is_over = False

    def first(self) -> list[StepRequest] | Ending:
        """Return the requests of steps that need no other; or an outcome if one cannot run."""
        return self._next()

    def take(self, step: str, status: int, body: bytes) -> list[StepRequest] | Ending:
        """Continue after a step's answer; each step answers once.

        Returns:
            The requests of steps that can run now (none if the record waits or is over), or the
                record's outcome.

        Raises:
            StepAnswerError: A reference reads the step's response, which is not JSON.
        """
        if self.is_over:
            return []
        ending = self._ending_at(step, status, body)
        if ending is not None:
            return self._end(ending)
        self._done.add(step)
        if len(self._done) == len(self._graph.steps):
            return self._end(self._answer)
        return self._next()

    def end(self) -> None:
        self.is_over = True

    def _ending_at(self, step: str, status: int, body: bytes) -> Ending | None:
        if status == STATUS_EXPIRED or status >= STATUS_FAILED:
            return Ending(status, body)
        if status >= 400:
            return Ending(status, name_step(step, body))
        if step in self._graph.read_steps:
            try:
                self._values.add_response(step, orjson.loads(body))
            except orjson.JSONDecodeError as error:
                raise StepAnswerError(f"step '{step}' answered no JSON ({error})") from None
        if step == self._graph.answer:
            self._answer = Ending(status, body)
        refusals = (self._judge(step, refusal) for refusal in self._graph.steps[step].refuse)
        return next((ending for ending in refusals if ending is not None), None)

    def _next(self) -> list[StepRequest] | Ending:
        ready = [
            step
            for step in self._graph.steps
            if step not in self._asked and self._graph.needs[step] <= self._done
        ]
        requests = []
        for step in ready:
            try:
                requests.append(self._ask(step))
            except MissingValueError as error:
                message = f"step '{step}' cannot be asked: {error}"
                return self._end(_refuse(message, "missing_value", step=step))
            except orjson.JSONEncodeError as error:
                # orjson reads deeper nesting than it writes.
                message = f"step '{step}' cannot be asked: {error}; nest the body less"
                return self._end(_refuse(message, "nested_body", step=step))
        self._asked.update(ready)
        return requests

    def _ask(self, step: str) -> StepRequest:
        settings = self._graph.steps[step]
        url = settings.url or self._request["url"]
        if settings.body is None and url == self._request["url"]:
            return StepRequest(step, settings.model, self._line)
        body = (
            self._request["body"] if settings.body is None else self._values.render(settings.body)
        )
        line = {**self._request, "url": url, "body": body}
        return StepRequest(step, settings.model, orjson.dumps(line))

    def _judge(self, step: str, refusal: Refusal) -> Ending | None:
        condition = refusal.when
        try:
            value = self._values.resolve(parse_reference(condition.value))
            if not holds(condition, value):
                return None
        except MissingValueError as error:
            # A guard whose answer cannot be read has not said that the request is safe.
            message = f"step '{step}' gave nothing to judge by, so the request is refused: {error}"
            return _refuse(message, "unreadable_condition", step=step)
        return _refuse(refusal.message, refusal.code, step=step, value=value)

    def _end(self, ending: Ending) -> Ending:
        self.is_over = True
        return ending


def name_step(step: str, body: bytes) -> bytes:
    """Return a step's 4xx body with the step's name in its error."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else "it gave no reason"
        return encode_refusal_body(f"step '{step}': {text}", "step_refused", step=step)
    inner = error.get("step")
    named = {
        **error,
        "message": f"step '{step}': {error.get('message', 'it gave no reason')}",
        "step": f"{step}.{inner}" if isinstance(inner, str) else step,
    }
    try:
        return orjson.dumps({**answer, "error": named})
    except orjson.JSONEncodeError:
        return body


def _refuse(message: str, code: str, **more: Any) -> Ending:
    return Ending(400, encode_refusal_body(message, code, **more))
