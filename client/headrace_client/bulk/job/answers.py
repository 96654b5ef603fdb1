"""What a result says of a job's items. Pure."""

from typing import Any, Protocol

from headrace_client.bulk.job.writing import ReadyAnswers
from headrace_client.bulk.output.answered import Failure as RowFailure
from headrace_client.bulk.output.errors import AnswerUnreadableError
from headrace_client.bulk.output.vectors import DecodedVectors
from headrace_client.jobs import Answer, Failure, Outcome, Request
from headrace_client.wire.exact_json import exact_json
from headrace_client.wire.results import Result

UNREADABLE_ANSWER = "unreadable_answer"


class ReadsAnswers(Protocol):
    """Makes an outcome of the result of a request."""

    def outcome(self, request: Request, result: Result) -> Outcome: ...


class DecodesVectors(Protocol):
    """As ``output.vectors.VectorDecoder``."""

    def decode(self, body: Any, inputs: int) -> DecodedVectors: ...


class VectorAnswersOf:
    """Answers of /v1/embeddings; ``ModelChangedError`` ends the job."""

    def __init__(self, decoder: DecodesVectors) -> None:
        self._decoder = decoder

    def outcome(self, request: Request, result: Result) -> Outcome:
        failure = failure_of(result, request.items)
        if failure is not None:
            return failure
        try:
            decoded = self._decoder.decode(result.body, request.items)
        except AnswerUnreadableError as error:
            return Failure(UNREADABLE_ANSWER, str(error))
        return Answer(
            ReadyAnswers(decoded.vectors, decoded.failures),
            size_bytes=decoded.vectors.nbytes,
            tokens=decoded.prompt_tokens,
        )


class BodyAnswersOf:
    """Response bodies as they come."""

    def outcome(self, request: Request, result: Result) -> Outcome:
        failure = failure_of(result, request.items)
        if failure is not None:
            return failure
        body = exact_json(result.body)
        usage = result.body.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        no_failures: dict[int, RowFailure] = {}
        return Answer(
            ReadyAnswers([body], no_failures),
            size_bytes=len(body),
            tokens=tokens if isinstance(tokens, int) else 0,
        )


def failure_of(result: Result, items: int = 1) -> Failure | None:
    """Return why a request of so many items failed; ``None`` if it did not."""
    error = result.to_error()
    if error is not None:
        status = "" if result.status_code is None else f"{result.status_code} "
        return Failure.of(error.code or f"{status}refused".replace(" ", "_"), str(error))
    if result.body_ref is not None and not result.body:
        advice = (
            "lower --batch-rows so that results stay under the route's claim_check.over_bytes"
            if items > 1
            else "fetch it from there, or raise the route's claim_check.over_bytes and try the row "
            "again with --retry-failed"
        )
        return Failure.of(
            "body_in_object_store",
            f"the answer lies in an object store, which a bulk job does not read, at "
            f"{result.body_ref.get('url')}: {advice}",
        )
    return None
