"""What can go wrong with OUT; each message says what to do next."""


class OutputError(Exception):
    """OUT cannot be written; nothing that is durable is lost."""


class OutputUsageError(OutputError):
    """The arguments ask for an OUT that cannot be; the message names the argument."""


class PartsBroken(OutputError):
    """A part that the checkpoint names is missing or damaged."""


class DiskFull(OutputError):
    """A disk has no room; the same command goes on once there is some."""


class ModelChanged(OutputError):
    """Vectors of this job differ in length: the model was changed while the job ran."""


class AnswerUnreadable(OutputError):
    """A response body that is not what its endpoint answers; the request's rows fail."""
