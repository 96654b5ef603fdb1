"""Records of the jobs topic: what a job's runner says of it, and what it is told.

The topic is compacted. A job's announcement has its name as the key; a command to its runner has
``NAME/command``. A record without a value forgets its key.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.names import Name, TopicName

MAX_JOB_NAME_CHARACTERS = 256

JobName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_JOB_NAME_CHARACTERS,
        pattern=r"^[^/\x00-\x1f\x7f]+$",
        description="The value of the header headrace-job of the job's requests.",
    ),
]
JobState = Literal[
    "running",
    "draining",
    "paused",
    "interrupted",
    "done",
    "partial",
    "failed",
    "cancelled",
    "expired",
]
JobAction = Literal["pause", "resume", "cancel"]
EpochMs = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    # A newer release may write more.
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class JobCounts(_Record):
    """How many there are, as far as is known."""

    total: Number | None = Field(default=None, description="Left out: not known yet.")
    sent: Number = Field(default=0, description="Published, or within what was published.")
    done: Number = Field(default=0, description="Written out, without those that failed.")
    failed: Number = Field(default=0, description="Given up, with a reason.")


class JobTopics(_Record):
    """Where a job's records are."""

    requests: TopicName | None = None
    results: TopicName | None = None
    control: TopicName | None = Field(
        default=None, description="The route's control topic, if it has one."
    )


class JobRecord(_Record):
    """How a job stands, by its runner; the key is the job's name."""

    job: JobName
    kind: str = Field(description="What runs it, e.g. bulk embed.")
    state: JobState = Field(
        description="draining: all is sent. interrupted: its runner has stopped, and the same "
        "command goes on with it. partial: finished, with rows that failed."
    )
    started_at_ms: EpochMs = Field(description="When it first began, epoch milliseconds.")
    updated_at_ms: EpochMs = Field(
        description="When this was written; a runner writes about every 5 s."
    )
    route: Name | None = None
    description: str = Field(
        default="", max_length=200, description="For a person, e.g. in.parquet -> out.parquet."
    )
    topics: JobTopics = JobTopics()
    host: str = Field(default="", description="Where the runner is.")
    user: str = Field(default="", description="Who started it there.")
    deadline_ms: EpochMs | None = Field(
        default=None, description="When what is left of it expires, epoch milliseconds."
    )
    weight: int = Field(default=1, ge=1, le=100, description="Its share of the route.")
    rows: JobCounts | None = Field(default=None, description="Of the input.")
    items: JobCounts | None = Field(
        default=None, description="What is computed; identical rows share an item."
    )
    requests: JobCounts | None = Field(default=None, description="Records that hold items.")
    rate_per_s: float | None = Field(
        default=None,
        ge=0,
        description="Rows done a second, lately; items or requests of a job that has no rows.",
    )
    tokens_per_s: float | None = Field(default=None, ge=0, description="Tokens a second, lately.")
    eta_s: float | None = Field(default=None, ge=0, description="Seconds to go.")
    waits_for: tuple[str, ...] = Field(
        default=(), max_length=8, strict=False, description="What it waits for, a line each."
    )


class JobCommand(_Record):
    """What a job's runner is told; the key is the job's name and ``/command``."""

    job: JobName
    action: JobAction
    at_ms: EpochMs = Field(description="When, epoch milliseconds.")
    by: str = Field(default="", description="By whom: USER@HOST.")
