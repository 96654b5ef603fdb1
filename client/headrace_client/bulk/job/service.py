"""Which service a job goes to: from the settings file, from options, or started for the job."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.job.plan import OptionsError, model_settings
from headrace_client.routes import Route, Routes
from headrace_client.settings import Connection, find_settings_file, load_settings, parse_settings

_NAMED = "options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where a job's requests go.

    Attributes:
        connection: The cluster of requests, and of the registry of jobs.
        results: The cluster of results.
        route: The topics.
        identity: What of it changes results, for the fingerprint.
        jobs_topic: Where jobs are announced; ``None``: this one is nobody else's business.
    """

    connection: Connection
    results: Connection
    route: Route
    identity: Mapping[str, Any]
    jobs_topic: str | None = None


def find_service(options: BulkOptions) -> Service:
    """Return the service of a settings file or of options; raises ``ClientError``."""
    requests, results = options.requests_topic, options.results_topic
    if (requests is None) != (results is None):
        raise OptionsError("--requests-topic and --results-topic go together: give both")
    settings = load_settings(options.config, needs_file=requests is None)
    settings = settings.with_bootstrap(options.bootstrap)
    if requests is not None and results is not None:
        route = Route(
            name=_NAMED, requests_topic=requests, results_topic=results, group=options.group
        )
    else:
        route = _route(settings.routes, options)
    identity = {
        "requests_topic": route.requests_topic,
        "results_topic": route.results_topic,
        "model": _model(_document(options), route),
    }
    return Service(
        connection=settings.connection,
        results=settings.results_connection,
        route=route,
        identity=identity,
        jobs_topic=settings.jobs_topic,
    )


def service_of(document: Mapping[str, Any], options: BulkOptions) -> Service:
    """Return the service that was started for the job; its topics are new each time."""
    settings = parse_settings(document, {})
    route = _route(settings.routes, options)
    return Service(
        connection=settings.connection,
        results=settings.results_connection,
        route=route,
        identity={"local": True, "model": _model(document, route)},
    )


def _route(routes: Routes, options: BulkOptions) -> Route:
    # Lines of an OpenAI Batch file name their endpoints themselves.
    url = None if options.kind == "run" and options.body is None else options.url
    route = routes.find(url, route=options.route, model=options.model)
    if not route.fail_with_result:
        raise OptionsError(
            f"routes.{route.name}.fail_with_result is false: a request that the service gives up "
            "has no result, and a job would wait for it for ever; set it to true (the service "
            "takes that without a restart), or name another route with --route"
        )
    return route


def _model(document: Mapping[str, Any], route: Route) -> dict[str, Any]:
    return model_settings(document, route.models[0] if route.models else None)


def _document(options: BulkOptions) -> Mapping[str, Any]:
    file = find_settings_file(options.config)
    if options.requests_topic is not None and not os.path.exists(file):  # noqa: PTH110
        return {}
    # Whatever is wrong with the file was said when it was loaded.
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        document = yaml.safe_load(file.read_bytes())
        if isinstance(document, Mapping):
            return document
    return {}
