"""Whether a service is well, by what its consumers report. Pure."""

from collections.abc import Iterable, Mapping

from consumer.replica.reports import RouteStatus


def complaints(routes: Iterable[str], statuses: Mapping[str, RouteStatus]) -> list[str]:
    """Return what is wrong, a line each; nothing where every route has a consumer that is well.

    Args:
        routes: The settings' routes.
        statuses: What each route's consumers report.
    """
    found = []
    for route in routes:
        status = statuses.get(route)
        if status is None or not status.replicas:
            found.append(f"{route}: no consumer reports")
        else:
            found += [f"{route}: consumer {error}" for error in status.errors]
    return found
