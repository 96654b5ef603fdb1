"""How far each route's consumers are behind, as the brokers see it."""

from consumer.kafka.admin.group_lags import GroupLags
from headrace.status.partition_lag import PartitionLag, partition_lags
from schemas.settings.file import Settings


async def read_lags(group_lags: GroupLags, settings: Settings) -> dict[str, list[PartitionLag]]:
    """Return each route's partitions in order, empty without its topic; raises ``SourceError``."""
    found: dict[str, list[PartitionLag]] = {}
    for name, route in settings.routes.items():
        lags = await group_lags.read(route.group, route.requests_topic)
        found[name] = partition_lags(lags, from_latest=route.start_from == "latest")
    return found
