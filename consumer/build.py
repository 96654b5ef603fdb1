"""From settings to an engine and its times: what a route's numbers mean to the core."""

import random

from consumer.core.admission import Admission
from consumer.core.engine import Engine
from consumer.core.intake import Intake
from consumer.core.outcome_messages import OutcomeMessages
from consumer.core.retry import RetryPolicy
from consumer.pipeline import PipelineSettings
from schemas.settings import RouteSettings

_REVOKE_SHARE = 0.6
"""Share of the rebalance timeout for publishing and committing; the rest is for rejoining."""


def build_engine(
    *,
    route_name: str,
    route: RouteSettings,
    urls: frozenset[str],
    work_field: str | None = None,
    calls_per_window: int = 4,
    consumer: str,
    metadata_limit_characters: int,
    jitter: random.Random,
) -> Engine:
    """Compose the engine of one consumer replica.

    Args:
        route_name: The route's key in the settings.
        route: Its settings.
        urls: The endpoints that its model answers.
        work_field: The body field by which its model ranks requests, if it does.
        calls_per_window: Into how many calls its model wants a replica's window divided.
        consumer: Identifies the replica.
        metadata_limit_characters: The brokers' ``offset.metadata.max.bytes``.
        jitter: Randomness of the retry backoff.
    """
    return Engine(
        consumer=consumer,
        intake=Intake(urls, route.limits.max_request_bytes, work_field),
        messages=OutcomeMessages(
            route=route_name,
            model=route.model,
            results_topic=route.results_topic,
            dead_letters_topic=route.dead_letters_topic,
            max_result_bytes=route.limits.max_result_bytes,
            fail_with_result=route.fail_with_result,
        ),
        admission=Admission(route.flow.max_records, route.flow.max_bytes),
        retry=RetryPolicy(
            max_attempts=route.retry.max_attempts,
            first_backoff_s=route.retry.first_backoff_ms / 1000,
            max_backoff_s=route.retry.max_backoff_ms / 1000,
        ),
        jitter=jitter,
        most_chunk_records=route.flow.chunk_records,
        calls_per_window=calls_per_window,
        metadata_limit_characters=metadata_limit_characters,
    )


def pipeline_settings(route: RouteSettings) -> PipelineSettings:
    """Return the pipeline's times for ``route``."""
    return PipelineSettings(
        commit_interval_s=route.commit_interval_ms / 1000,
        revoke_budget_s=route.membership.rebalance_timeout_ms / 1000 * _REVOKE_SHARE,
        drain_timeout_s=route.drain_timeout_s,
    )
