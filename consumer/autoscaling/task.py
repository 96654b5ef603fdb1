"""The task of one deployment's scaling policy."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from consumer.autoscaling.lag_reader import GroupLagSource
from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.file import KafkaSettings
from schemas.settings.live import plain
from schemas.settings.secrets import with_references


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingTask:
    """Bounds, aim and the backlog that counts.

    Attributes:
        sources: The groups whose backlog the deployment works on.
        is_consumer: It reads the topic itself, so its replicas never exceed the partitions.
    """

    settings: AutoscalingSettings
    kafka: KafkaSettings
    sources: tuple[GroupLagSource, ...]
    is_consumer: bool

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(
            settings=AutoscalingSettings.model_validate(values["settings"]),
            kafka=KafkaSettings.model_validate(values["kafka"]),
            sources=tuple(GroupLagSource(**source) for source in values["sources"]),
            is_consumer=values["is_consumer"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the task as JSON values, with the names of variables in place of secrets."""
        return {
            "settings": plain(self.settings),
            "kafka": plain(with_references(self.kafka)),
            "sources": [asdict(source) for source in self.sources],
            "is_consumer": self.is_consumer,
        }
