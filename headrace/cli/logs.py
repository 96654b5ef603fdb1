"""What `headrace up` says on its way: lines for a person, or log lines as JSON."""

import logging
import os
from collections.abc import Sequence

from headrace.cli.diff import changes_table
from headrace.cli.output import err, print_note
from headrace.service.changes import Action, Change
from headrace_client.logs.forms import log_to_stderr
from headrace_client.logs.redacting import secrets_of_environment
from schemas.settings.file import Settings
from schemas.settings.secrets import secret_values

log = logging.getLogger(__name__)


class Saying:
    """Says what a command does, in the form of the setting ``logging.format``."""

    def __init__(self, settings: Settings) -> None:
        logs = settings.logging
        self._is_json = logs.format == "json"
        if self._is_json:
            secrets = [*secret_values(settings, os.environ), *secrets_of_environment(os.environ)]
            log_to_stderr("json", logs.level, secrets)

    def step(self, line: str) -> None:
        self._say(line, "service_step")

    def started(self, line: str) -> None:
        self._say(line, "service_started")

    def stopped(self, line: str) -> None:
        self._say(line, "service_stopped")

    def plan(self, changes: Sequence[Change]) -> None:
        """Show what will be changed of a service that runs."""
        if not self._is_json:
            err.print(changes_table(changes))
            return
        for change in changes:
            if change.action is not Action.UNCHANGED:
                log.info(
                    "%s: %s",
                    change.action.value,
                    change.title,
                    extra={
                        "event": "settings_changed",
                        "application": change.application,
                        "action": change.action.value,
                        "reasons": list(change.reasons),
                    },
                )

    def _say(self, line: str, event: str) -> None:
        if self._is_json:
            log.info("%s", line, extra={"event": event})
        else:
            print_note(line)
