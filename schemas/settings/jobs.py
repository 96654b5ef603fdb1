"""The registry of jobs."""

from pydantic import Field

from schemas.names import TopicName
from schemas.settings.section import Section


class JobsSettings(Section):
    """Where the runners of jobs say how they stand, for `headrace jobs`."""

    topic: TopicName = Field(
        default="headrace.jobs",
        description="A compacted topic; services that share it list their jobs together.",
    )
