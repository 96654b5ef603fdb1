"""Builds a route's engine and its times from the settings."""

import random
import sys

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import ClaimCheckPolicy
from consumer.engine.calls.rate_limit import RateLimits
from consumer.engine.engine import Engine
from consumer.engine.failures.retry import Failure, RetryPolicy
from consumer.engine.intake import Intake
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.settings import EngineSettings, LiveSettings
from consumer.engine.tracing.traces import Traces
from consumer.loop.settings import LoopSettings
from consumer.ports import ReadingNotes
from schemas.settings.file import RouteSettings
from schemas.wire.references import check_prefix

_REVOKE_SHARE = 0.6
"""Share of the rebalance timeout for publishing and committing; the rest is for rejoining."""


def build_engine(  # noqa: PLR0913 - the parts of an engine
    *,
    route_name: str,
    route: RouteSettings,
    urls: frozenset[str],
    work_field: str | None = None,
    consumer: str,
    metadata_limit_characters: int,
    jitter: random.Random,
    result_limit_bytes: int | None = None,
    notes: ReadingNotes | None = None,
    traces: Traces | None = None,
    earlier: Engine | None = None,
) -> Engine:
    """Compose the engine of one consumer replica, which ``consumer`` identifies.

    ``work_field`` is the body field by which the model ranks requests, if it does; ``earlier`` is
    the replica's engine before this one, if there was one.
    """
    return Engine(
        consumer=consumer,
        intake=_build_intake(route, urls, work_field),
        messages=OutcomeMessages(
            route=route_name,
            model=route.model,
            results_topic=route.results_topic,
            dead_letters_topic=route.dead_letters_topic,
            max_result_bytes=route.limits.max_result_bytes,
            fail_with_result=route.fail_with_result,
        ),
        claim_check=_claim_check_policy(route, result_limit_bytes),
        admission=Admission(route.flow.max_records, route.flow.max_bytes),
        retry=_retry_policy(route),
        jitter=jitter,
        notes=notes,
        traces=traces,
        earlier=earlier,
        settings=EngineSettings(
            most_chunk_records=route.flow.chunk_records,
            metadata_limit_characters=metadata_limit_characters,
            max_body_bytes=_max_body_bytes(route),
            ordering=route.ordering,
            attempt_timeout_s=route.retry.attempt_timeout_s,
            may_repeat=route.delivery == "at_least_once",
            rate_limits=_rate_limits(route),
        ),
    )


def live_engine_settings(route: RouteSettings) -> LiveSettings:
    return LiveSettings(
        max_records=route.flow.max_records,
        max_bytes=route.flow.max_bytes,
        most_chunk_records=route.flow.chunk_records,
        max_request_bytes=route.limits.max_request_bytes,
        max_result_bytes=route.limits.max_result_bytes,
        max_body_bytes=_max_body_bytes(route),
        over_bytes=_over_bytes(route),
        fail_with_result=route.fail_with_result,
        retry=_retry_policy(route),
        reply_topics=route.reply_topics,
        rate_limits=_rate_limits(route),
    )


def _rate_limits(route: RouteSettings) -> RateLimits:
    flow = route.flow
    return RateLimits(
        max_records_per_s=flow.max_records_per_s, max_tokens_per_s=flow.max_tokens_per_s
    )


def _retry_policy(route: RouteSettings) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=route.retry.max_attempts,
        first_backoff_s=route.retry.first_backoff_ms / 1000,
        max_backoff_s=route.retry.max_backoff_ms / 1000,
        retried=frozenset(map(Failure, route.retry.on)),
    )


def _max_body_bytes(route: RouteSettings) -> int:
    stored_bytes = 0 if route.claim_check is None else route.claim_check.max_object_bytes
    return max(route.limits.max_result_bytes, stored_bytes)


def _build_intake(route: RouteSettings, urls: frozenset[str], work_field: str | None) -> Intake:
    claim_check = route.claim_check
    return Intake(
        urls,
        route.limits.max_request_bytes,
        work_field,
        tuple(map(check_prefix, claim_check.request_prefixes)) if claim_check else (),
        claim_check.max_object_bytes if claim_check else 0,
        takes_frame=route.requests_format == "confluent-json",
        reply_topics=route.reply_topics,
    )


def _claim_check_policy(
    route: RouteSettings, result_limit_bytes: int | None
) -> ClaimCheckPolicy | None:
    settings = route.claim_check
    if settings is None:
        return None
    return ClaimCheckPolicy(
        over_bytes=_over_bytes(route),
        message_limit_bytes=result_limit_bytes or sys.maxsize,
        max_object_bytes=settings.max_object_bytes,
        give_up_after_s=settings.give_up_after_s,
    )


def _over_bytes(route: RouteSettings) -> int:
    settings = route.claim_check
    over_bytes = None if settings is None else settings.over_bytes
    return min(over_bytes or sys.maxsize, route.limits.max_result_bytes)


def loop_settings(route: RouteSettings) -> LoopSettings:
    return LoopSettings(
        commit_interval_s=route.commit_interval_ms / 1000,
        revoke_budget_s=route.membership.rebalance_timeout_ms / 1000 * _REVOKE_SHARE,
        drain_timeout_s=route.drain_timeout_s,
        transaction_linger_s=route.transactions.linger_ms / 1000,
        session_timeout_s=route.membership.session_timeout_ms / 1000,
    )
