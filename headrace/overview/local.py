"""An overview without a service: what Kafka alone says."""

import asyncio

from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.control import KafkaControlSource
from handoff.clock import Clock
from headrace.overview.gathering import Gathering
from headrace.overview.jobs_follower import JobsFollower
from headrace.overview.known import KnownService
from headrace.overview.snapshot import Overview
from schemas.settings.file import Settings


def take_overview(settings: Settings, no_service: str, clock: Clock) -> Overview:
    """Return lags and jobs; ``no_service`` is why no service answers."""
    return asyncio.run(_take(settings, no_service, clock))


async def _take(settings: Settings, no_service: str, clock: Clock) -> Overview:
    topic = settings.jobs.topic
    jobs = JobsFollower(lambda: KafkaControlSource(settings.kafka, topic), clock)
    try:
        async with GroupLags(settings.kafka) as lags:
            gathering = Gathering(
                KnownService.of(settings),
                clock=clock,
                lags=lags,
                ask_serve=None,
                ask_jobs=jobs.jobs,
                ask_consumers=lambda: None,
                no_service=no_service,
            )
            return await gathering.overview()
    finally:
        await jobs.close()
