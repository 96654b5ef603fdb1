"""Errors of all commands, as a person reads them."""

from consumer.ports import SourceError
from headrace.brokers import BrokerStartError
from headrace.errors import ServiceError, UserError
from headrace.settings.problems import SettingsError
from headrace_client.cli import failures


def explain(error: Exception) -> list[str] | None:
    """Return lines that say what to do; ``None`` where the error is not the user's to mend."""
    if isinstance(error, SettingsError):
        return [str(problem) for problem in error.problems]
    if isinstance(error, UserError | BrokerStartError | ServiceError | SourceError):
        return [str(error)]
    return failures.explain(error)
