"""Where Kafka is and which routes there are: from headrace.yaml, the environment or arguments.

Of the service's settings file only ``kafka``, ``routes``, ``jobs``, ``logging`` and the names of
``models`` are read; the rest is the service's, and is not checked here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_args

import orjson
import yaml

from headrace_client.errors import SettingsError
from headrace_client.logs.forms import Format, Level
from headrace_client.registry.announcements import JOBS_TOPIC
from headrace_client.routes import Route, Routes, read_routes
from headrace_client.sections import SectionReader

CONFIG_VARIABLE = "HEADRACE_CONFIG"
DEFAULT_CONFIG = "headrace.yaml"
PREFIX = "HEADRACE_"
MAX_FILE_BYTES = 4 * 1024 * 1024

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_KAFKA_KEYS = ("bootstrap", "tls", "sasl", "broker", "offset_metadata_max_bytes")
_TLS_KEYS = ("ca_file", "cert_file", "key_file", "key_password", "check_hostname")
_SASL_KEYS = ("mechanism", "username", "password")
_BROKER = r"(\[[0-9A-Fa-f:.]+(%[^\s,:\]]+)?\]|[^\s,:\[\]]+):\d+"
_BOOTSTRAP = re.compile(rf"{_BROKER}(,{_BROKER})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the brokers; PEM files. Without ``ca_file`` the system's CAs count."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise SettingsError(
                "kafka.tls: cert_file and key_file go together: set both, or neither"
            )

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(_TLS_KEYS)
        return cls(
            ca_file=section.optional_text("ca_file"),
            cert_file=section.optional_text("cert_file"),
            key_file=section.optional_text("key_file"),
            key_password=section.optional_text("key_password"),
            check_hostname=section.flag("check_hostname", default=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """SASL authentication."""

    mechanism: str = "SCRAM-SHA-512"
    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise SettingsError(f"kafka.sasl.mechanism: must be one of {', '.join(MECHANISMS)}")

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(_SASL_KEYS)
        return cls(
            mechanism=section.text("mechanism", "SCRAM-SHA-512"),
            username=section.text("username"),
            password=section.text("password"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The cluster: the keys of the settings file's section ``kafka``.

    ``bootstrap`` is HOST:PORT, or several parted by commas; an IPv6 address in brackets.
    """

    bootstrap: str = "127.0.0.1:9092"
    tls: Tls | None = None
    sasl: Sasl | None = None

    def __post_init__(self) -> None:
        if not _BOOTSTRAP.fullmatch(self.bootstrap):
            raise SettingsError(
                f"kafka.bootstrap: {self.bootstrap!r} is not HOST:PORT, or several of them parted "
                "by commas without spaces; write an IPv6 address as [::1]:9092"
            )

    @property
    def security_protocol(self) -> str:
        if self.sasl is not None:
            return "SASL_SSL" if self.tls is not None else "SASL_PLAINTEXT"
        return "SSL" if self.tls is not None else "PLAINTEXT"

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(_KAFKA_KEYS)
        tls, sasl = section.section("tls"), section.section("sasl")
        return cls(
            bootstrap=section.text("bootstrap", cls().bootstrap),
            tls=None if tls is None else Tls.from_section(tls),
            sasl=None if sasl is None else Sasl.from_section(sasl),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What a program of the client's writes to its log: the section ``logging``."""

    format: Format = "plain"
    level: Level = "info"

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(("format", "level"))
        form, level = section.text("format", "plain"), section.text("level", "info")
        return cls(
            format=_one_of(form, get_args(Format), "logging.format"),
            level=_one_of(level, get_args(Level), "logging.level"),
        )


def _one_of(value: str, values: tuple[Any, ...], key: str) -> Any:
    if value not in values:
        raise SettingsError(f"{key}: must be one of {', '.join(values)}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What a client needs to know of a service; ``jobs_topic`` is the registry of jobs."""

    connection: Connection = Connection()
    routes: Routes = field(default_factory=lambda: Routes(()))
    jobs_topic: str = JOBS_TOPIC
    logs: Logs = Logs()

    def with_bootstrap(self, bootstrap: str | None) -> "ClientSettings":
        if bootstrap is None:
            return self
        return replace(self, connection=replace(self.connection, bootstrap=bootstrap))

    def with_connection(self, connection: Connection) -> "ClientSettings":
        return replace(self, connection=connection)

    def with_route(self, route: Route) -> "ClientSettings":
        return replace(self, routes=Routes((route,)))


def find_settings_file(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the settings file: the one given, ``$HEADRACE_CONFIG``, or ``./headrace.yaml``."""
    return Path(given or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def load_settings(
    path: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    needs_file: bool = True,
) -> ClientSettings:
    """Read the settings file, and ``HEADRACE_KAFKA__…`` and the like from the environment.

    Without ``needs_file`` a file that is neither named nor there counts as empty. Raises
    ``SettingsError``, which names the key and the file.
    """
    file = find_settings_file(path)
    is_named = path is not None or bool(os.environ.get(CONFIG_VARIABLE))
    try:
        if not needs_file and not is_named and not file.exists():
            data: dict[str, Any] = {}
        else:
            data = _read_file(file)
        return parse_settings(data, os.environ if environment is None else environment)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None


def parse_settings(data: Mapping[str, Any], environment: Mapping[str, str]) -> ClientSettings:
    """Check a settings file's content; raises ``SettingsError``."""
    merged = apply_environment(data, environment)
    kafka = SectionReader(merged.get("kafka") or {}, "kafka")
    models = SectionReader(merged.get("models") or {}, "models")
    routes = SectionReader(merged.get("routes") or {}, "routes")
    jobs = SectionReader(merged.get("jobs") or {}, "jobs")
    jobs.check_keys(("topic",))
    logs = SectionReader(merged.get("logging") or {}, "logging")
    return ClientSettings(
        connection=Connection.from_section(kafka),
        routes=read_routes(routes, models),
        jobs_topic=jobs.text("topic", JOBS_TOPIC),
        logs=Logs.from_section(logs),
    )


def apply_environment(data: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the content with ``HEADRACE_SECTION__KEY=value`` laid over it.

    Names of models and routes match with underscores for dashes; lists are written as JSON.
    """
    merged = dict(data)
    for variable in sorted(environment):
        words = variable.upper().removeprefix(PREFIX).lower().split("__")
        if not variable.upper().startswith(PREFIX) or len(words) < 2:
            continue
        section, *keys = words
        if section not in {"kafka", "routes", "models", "jobs", "logging"}:
            continue
        if section not in {"kafka", "jobs", "logging"}:
            keys[0] = _entry_name(merged.get(section), keys[0])
        _lay(merged, (section, *keys), _decode(environment[variable], variable, keys[-1]))
    return merged


def _entry_name(entries: object, word: str) -> str:
    dashed = word.replace("_", "-")
    names = map(str, entries) if isinstance(entries, Mapping) else ()
    return next((each for each in names if each.lower().replace("_", "-") == dashed), dashed)


def _decode(value: str, variable: str, key: str) -> Any:
    if not value.startswith(("[", "{")) or key in {"password", "key_password", "bootstrap"}:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f'{variable}: is not JSON ({error}); write e.g. ["a", "b"]') from None


def _lay(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        below = data.get(key)
        data[key] = dict(below) if isinstance(below, Mapping) else {}
        data = data[key]
    data[last] = value


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"cannot be read ({error.strerror}); name the settings file, set "
            f"{CONFIG_VARIABLE}=FILE, or give the topics and bootstrap as arguments"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"is over {MAX_FILE_BYTES:,} bytes; that is no settings file")
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = "" if place is None else f" in line {place.line + 1}"
        raise SettingsError(f"is not YAML{line}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise SettingsError("must be a mapping with kafka, models and routes")
    return data
