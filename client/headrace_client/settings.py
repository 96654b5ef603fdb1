"""Where Kafka is and which routes there are: from headrace.yaml, the environment or arguments.

Of the service's settings file only ``kafka``, ``results_kafka``, ``routes``, ``jobs``, ``logging``
and the names of ``models`` are read; the rest is the service's, and is not checked here.
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
from headrace_client.security import MECHANISMS, OAuth, Sasl, Tls

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_CONFIG",
    "MECHANISMS",
    "ClientSettings",
    "Connection",
    "OAuth",
    "Sasl",
    "Tls",
    "apply_environment",
    "find_settings_file",
    "load_settings",
    "parse_settings",
]

CONFIG_VARIABLE = "HEADRACE_CONFIG"
DEFAULT_CONFIG = "headrace.yaml"
PREFIX = "HEADRACE_"
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_NODES = 100_000
"""Each use of an alias counts, so that a small file cannot expand into a huge one."""
MAX_DEPTH = 50
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
"""By Kafka's numbers."""
KAFKA_KEYS = (
    "bootstrap",
    "tls",
    "sasl",
    "client_rack",
    "fetch_min_bytes",
    "fetch_max_wait_ms",
    "compression",
    "linger_ms",
    "broker",
    "offset_metadata_max_bytes",
)
_SECRET_KEYS = {"password", "key_password", "client_secret", "bootstrap"}
_SECTIONS = {"kafka", "results_kafka", "routes", "models", "jobs", "logging"}
_BROKER = r"(\[[0-9A-Fa-f:.]+(%[^\s,:\]]+)?\]|[^\s,:\[\]]+):\d+"
_BOOTSTRAP = re.compile(rf"{_BROKER}(,{_BROKER})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The cluster: the keys of the settings file's section ``kafka``, or ``results_kafka``.

    Attributes:
        bootstrap: HOST:PORT, or several parted by commas; an IPv6 address in brackets.
        client_rack: Where this client is: replicas of partitions there are read, where brokers
            allow that. ``${NAME}`` is taken from the environment.
        fetch_min_bytes: A fetch waits for so much, ``fetch_max_wait_ms`` at most.
        fetch_max_wait_ms: As above; each reader's own where unset.
        compression: Of what is published: none, gzip, snappy, lz4 or zstd.
        linger_ms: How long what is published gathers; only the service's consumers do that.
        section: The settings' section, for messages.
    """

    bootstrap: str = "127.0.0.1:9092"
    tls: Tls | None = None
    sasl: Sasl | None = None
    client_rack: str | None = None
    fetch_min_bytes: int = 1
    fetch_max_wait_ms: int | None = None
    compression: str = "none"
    linger_ms: float = 0.0
    section: str = field(default="kafka", compare=False)

    def __post_init__(self) -> None:
        if not _BOOTSTRAP.fullmatch(self.bootstrap):
            raise SettingsError(
                f"{self.section}.bootstrap: {self.bootstrap!r} is not HOST:PORT, or several of "
                "them parted by commas without spaces; write an IPv6 address as [::1]:9092"
            )

    @property
    def security_protocol(self) -> str:
        if self.sasl is not None:
            return "SASL_SSL" if self.tls is not None else "SASL_PLAINTEXT"
        return "SSL" if self.tls is not None else "PLAINTEXT"

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(KAFKA_KEYS)
        tls, sasl = section.section("tls"), section.section("sasl")
        default = cls()
        wait_ms = section.number("fetch_max_wait_ms", -1, least=-1)
        return cls(
            bootstrap=section.text("bootstrap", default.bootstrap),
            tls=None if tls is None else Tls.from_section(tls),
            sasl=None if sasl is None else Sasl.from_section(sasl),
            client_rack=section.optional_text("client_rack"),
            fetch_min_bytes=int(section.number("fetch_min_bytes", 1, least=1)),
            fetch_max_wait_ms=None if wait_ms < 0 else int(wait_ms),
            compression=section.choice("compression", default.compression, COMPRESSIONS),
            linger_ms=section.number("linger_ms", 0.0, least=0),
            section=section.path,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What a program of the client's writes to its log: the section ``logging``."""

    format: Format = "plain"
    level: Level = "info"

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(("format", "level"))
        format_: Any = section.choice("format", "plain", get_args(Format))
        level: Any = section.choice("level", "info", get_args(Level))
        return cls(format=format_, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What a client needs to know of a service; ``jobs_topic`` is the registry of jobs.

    ``results`` is the cluster of results topics and reply topics, if it is another one than that of
    ``connection``, where all other topics are.
    """

    connection: Connection = Connection()
    results: Connection | None = None
    routes: Routes = field(default_factory=lambda: Routes(()))
    jobs_topic: str = JOBS_TOPIC
    logs: Logs = Logs()

    @property
    def results_connection(self) -> Connection:
        return self.connection if self.results is None else self.results

    def with_bootstrap(self, bootstrap: str | None) -> "ClientSettings":
        if bootstrap is None:
            return self
        return replace(self, connection=replace(self.connection, bootstrap=bootstrap))

    def with_connection(self, connection: Connection) -> "ClientSettings":
        """Return settings of one cluster."""
        return replace(self, connection=connection, results=None)

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
    results = merged.get("results_kafka")
    jobs.check_keys(("topic",))
    logs = SectionReader(merged.get("logging") or {}, "logging")
    return ClientSettings(
        connection=Connection.from_section(kafka),
        results=(
            None
            if results is None
            else Connection.from_section(SectionReader(results, "results_kafka"))
        ),
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
        if section not in _SECTIONS:
            continue
        if section in {"routes", "models"}:
            keys[0] = _entry_name(merged.get(section), keys[0])
        _lay(merged, (section, *keys), _decode(environment[variable], variable, keys[-1]))
    return merged


def _entry_name(entries: object, word: str) -> str:
    dashed = word.replace("_", "-")
    names = map(str, entries) if isinstance(entries, Mapping) else ()
    return next((each for each in names if each.lower().replace("_", "-") == dashed), dashed)


def _decode(value: str, variable: str, key: str) -> Any:
    if not value.startswith(("[", "{")) or key in _SECRET_KEYS:
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
    return read_content(content)


def read_content(content: bytes) -> dict[str, Any]:
    """Return a settings file's mapping; ``SettingsError`` if it is none, or too large unpacked."""
    try:
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        _check_size(node)
        data = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = "" if place is None else f" in line {place.line + 1}"
        raise SettingsError(f"is not YAML{line}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise SettingsError("must be a mapping with kafka, models and routes")
    return data


def _check_size(root: yaml.Node | None) -> None:
    left_nodes = MAX_NODES
    waiting = [] if root is None else [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        left_nodes -= 1
        if left_nodes < 0 or depth > MAX_DEPTH:
            raise SettingsError(
                f"is nested or aliased past {MAX_DEPTH} levels or {MAX_NODES:,} values"
            )
        if isinstance(node, yaml.SequenceNode):
            waiting += [(each, depth + 1) for each in node.value]
        elif isinstance(node, yaml.MappingNode):
            waiting += [(each, depth + 1) for pair in node.value for each in pair]
