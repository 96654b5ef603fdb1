"""The atomic end: parts become OUT, or it is as if nothing had happened."""

from headrace_client.bulk.output.ending.end import Ending
from headrace_client.bulk.output.ending.journal import Finished

__all__ = ["Ending", "Finished"]
