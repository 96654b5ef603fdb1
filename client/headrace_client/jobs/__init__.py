"""The pure core of a job: what to send next, what to write next, what may be checkpointed."""

from headrace_client.jobs.checkpoints import Checkpoint, CheckpointError
from headrace_client.jobs.job import Job, JobError
from headrace_client.jobs.outcomes import Answer, Failure, Outcome, Piece
from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.requests import Request
from headrace_client.jobs.settings import JobSettings, Window
from headrace_client.jobs.states import JobState, Progress, WaitsFor

__all__ = [
    "Answer",
    "Checkpoint",
    "CheckpointError",
    "Failure",
    "Job",
    "JobError",
    "JobSettings",
    "JobState",
    "Outcome",
    "Piece",
    "Progress",
    "RangeSet",
    "Request",
    "WaitsFor",
    "Window",
]
