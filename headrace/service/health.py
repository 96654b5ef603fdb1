"""Whether a service is healthy, by what its consumers report. Pure."""

from collections.abc import Iterable, Mapping

from consumer.replica.reports import RouteStatus


def complaints(routes: Iterable[str], statuses: Mapping[str, RouteStatus]) -> list[str]:
    """Return what is wrong, one line each; empty if every route has a healthy consumer."""
    found = []
    for route in routes:
        status = statuses.get(route)
        if status is None or not status.replicas:
            found.append(f"{route}: no consumer reports")
        else:
            found += [f"{route}: consumer {error}" for error in status.errors]
    return found
