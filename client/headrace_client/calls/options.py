"""What a client may be told, by keyword arguments or the settings file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

from headrace_client.errors import SettingsError
from headrace_client.routes import Route
from headrace_client.settings import ClientSettings, Connection, load_settings

MIB = 1024 * 1024


class Options(TypedDict, total=False):
    """The keyword arguments of every client; ``ClientOptions`` says what they mean."""

    config: str | os.PathLike[str] | None
    settings: ClientSettings | None
    bootstrap: str | None
    connection: Connection | None
    route: str | None
    requests_topic: str | None
    results_topic: str | None
    control_topic: str | None
    group: str | None
    reply_topic: str | None
    tenant: str | None
    priority: str | None
    headers: Mapping[str, str]
    timeout_s: float | None
    inputs_per_request: int
    max_in_flight_requests: int
    max_in_flight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The keyword arguments of every client.

    Attributes:
        config: The settings file; else ``$HEADRACE_CONFIG``, else ``./headrace.yaml``.
        settings: Settings that were read already; no file is read then.
        bootstrap: Overrides ``kafka.bootstrap``.
        connection: Overrides the whole section ``kafka``.
        route: The route of all requests; of ``requests_topic``, its name in control records.
        requests_topic: With ``results_topic`` the only route, in place of those of the file.
        results_topic: See ``requests_topic``.
        control_topic: Where this route's cancellations go.
        group: This route's consumer group, by which a silent service is told from a busy one.
        reply_topic: A topic for the results of this client alone, which must exist and be one
            that the route allows.
        tenant: The header ``headrace-tenant`` of all requests.
        priority: The header ``headrace-priority`` of all requests.
        headers: Further headers of all requests; they come back on the results.
        timeout_s: For calls that name none; ``None`` waits as long as it takes.
        inputs_per_request: The most texts of one request; longer lists are split.
        max_in_flight_requests: The most requests without a result; further calls wait.
        max_in_flight_bytes: The same by the size of the requests.
    """

    config: str | os.PathLike[str] | None = None
    settings: ClientSettings | None = None
    bootstrap: str | None = None
    connection: Connection | None = None
    route: str | None = None
    requests_topic: str | None = None
    results_topic: str | None = None
    control_topic: str | None = None
    group: str | None = None
    reply_topic: str | None = None
    tenant: str | None = None
    priority: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    inputs_per_request: int = 64
    max_in_flight_requests: int = 10_000
    max_in_flight_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        for name in ("inputs_per_request", "max_in_flight_requests", "max_in_flight_bytes"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise SettingsError(f"timeout_s: must be above 0, not {self.timeout_s}")
        if (self.requests_topic is None) != (self.results_topic is None):
            raise SettingsError("requests_topic and results_topic go together: give both, or none")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "ClientOptions":
        """Check keyword arguments; ``SettingsError`` names what is unknown or wrong."""
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise SettingsError(f"{name}: there is no such argument; {', '.join(known)} are")
        return cls(**given)

    def load(self) -> ClientSettings:
        """Read the settings file, and lay the arguments over it; raises ``SettingsError``."""
        has_route = self.requests_topic is not None
        settings = self.settings or load_settings(self.config, needs_file=not has_route)
        if self.connection is not None:
            settings = settings.with_connection(self.connection)
        settings = settings.with_bootstrap(self.bootstrap)
        if self.requests_topic is not None and self.results_topic is not None:
            settings = settings.with_route(
                Route(
                    name=self.route or "default",
                    requests_topic=self.requests_topic,
                    results_topic=self.results_topic,
                    control_topic=self.control_topic,
                    group=self.group,
                )
            )
        return settings
