"""``headrace health``: whether the service here is healthy, for a container's health check."""

import typer

from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import print_error, print_note
from headrace.errors import ServiceError
from headrace.service.health import complaints


def health(config: ConfigOption = None) -> None:
    """Exit 0 if every route of the service on the Ray cluster has a consumer that is well."""
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above
    from headrace.status.client import read_statuses  # noqa: PLC0415 - see above

    settings = read_settings(config)
    try:
        found = complaints(settings.routes, read_statuses()) if join_ray() else [NO_CLUSTER]
    except ServiceError as error:
        found = [str(error)]
    finally:
        ray.shutdown()
    for each in found:
        print_error(each)
    if found:
        raise typer.Exit(1)
    print_note("well: " + ", ".join(settings.routes))
