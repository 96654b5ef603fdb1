"""How a bulk job is shown: a bar, lines, or, if the settings say so, a log of JSON lines."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from headrace_client.bulk.job.progress.display import Display, choose_display
from headrace_client.bulk.job.progress.log_lines import LogLines
from headrace_client.errors import SettingsError
from headrace_client.logs.forms import log_to_stderr
from headrace_client.logs.redacting import secrets_of_environment
from headrace_client.settings import ClientSettings, Connection, load_settings


def choose(config: Path | None, *, as_json: bool) -> Display:
    """Return the display of a job; with ``as_json`` its reports go to stdout in any case."""
    settings = _settings(config)
    if settings.logs.format == "plain":
        # What goes wrong for a while is in what the job waits for; a bar and a log would mix.
        logging.getLogger("headrace_client").addHandler(logging.NullHandler())
        return choose_display(as_json=as_json)
    log_to_stderr("json", settings.logs.level, _secrets(settings))
    return LogLines(choose_display(as_json=True) if as_json else None)


def _settings(config: Path | None) -> ClientSettings:
    try:
        return load_settings(config, needs_file=False)
    except SettingsError:
        # Who needs more of the file than its form of logs says what is wrong with it.
        return ClientSettings()


def _secrets(settings: ClientSettings) -> list[str]:
    clusters = (settings.connection, settings.results_connection)
    own = [secret for cluster in clusters for secret in _secrets_of(cluster)]
    return [*own, *secrets_of_environment(os.environ)]


def _secrets_of(cluster: Connection) -> Iterator[str]:
    sasl = cluster.sasl
    known = (
        None if sasl is None else sasl.password,
        None if sasl is None or sasl.oauth is None else sasl.oauth.client_secret,
        None if cluster.tls is None else cluster.tls.key_password,
    )
    yield from filter(None, known)
