"""``headrace render``: turns the settings file into manifests, and the metrics into a dashboard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer

from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import print_error, print_note
from headrace.kubernetes.source import read_source
from headrace.observability.alerts.groups import alert_groups
from headrace.observability.dashboard import dashboard
from headrace.settings.file import find_settings_file
from schemas.settings.file import Settings

render_app = typer.Typer(
    help="Manifests of the settings, alerts, and a Grafana dashboard.", no_args_is_help=True
)


@render_app.callback()
def render() -> None:
    """Manifests of the settings, alerts, and a Grafana dashboard."""


@render_app.command("serve")
def serve(config: ConfigOption = None) -> None:
    """Print Ray Serve's config, as `serve deploy` and a RayService take it."""
    # Ray takes a second or two to import, and the other commands do not need it.
    from headrace.kubernetes.manifests import serve_config_text  # noqa: PLC0415 - see above

    print(serve_config_text(read_source(find_settings_file(config))), end="")  # noqa: T201


@render_app.command("grafana")
def grafana() -> None:
    """Print a Grafana dashboard of the metrics, to import as it is. It fits any settings."""
    print(orjson.dumps(dashboard(), option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - a file on stdout


@render_app.command("alerts")
def alerts(config: ConfigOption = None) -> None:
    """Print the alerts as a file of rules, for a Prometheus that no operator runs."""
    # As above.
    from headrace.kubernetes.manifests import to_yaml  # noqa: PLC0415 - see above

    groups = alert_groups(read_settings(config))
    print(to_yaml({"groups": groups}), end="")  # noqa: T201 - YAML on stdout


@render_app.command("k8s")
def k8s(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A directory to write to; else all goes to stdout."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 where --output differs."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Render the Kubernetes manifests: RayService, Kafka, topics, users and alerts.

    The environment is left out, and a file that carries a secret is refused.
    """
    # As above.
    from headrace.kubernetes.manifests import render_files  # noqa: PLC0415 - see above

    source = read_source(find_settings_file(config))
    files = render_files(source)
    _warn_of_sources(source.settings)
    if output is None:
        manifests = [text for name, text in files.items() if name != "kustomization.yaml"]
        print("---\n".join(manifests), end="")  # noqa: T201 - YAML on stdout, for kubectl
        return
    _write(files, output, check=check)


@render_app.command("helm")
def helm(
    output: Annotated[Path, typer.Option("--output", "-o", help="The chart's directory.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 where --output differs."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Render the same manifests as a Helm chart, with values for what differs between clusters."""
    # As above.
    from headrace.kubernetes.helm.chart import chart_files  # noqa: PLC0415 - see above

    source = read_source(find_settings_file(config))
    files = chart_files(source)
    _warn_of_sources(source.settings)
    # Helm renders whatever lies there, also what earlier settings rendered to.
    stale = [
        each
        for each in sorted((output / "templates").glob("*"))
        if f"templates/{each.name}" not in files
    ]
    for each in stale:
        if check:
            print_error(f"{each} is not rendered any more; render the chart again")
        else:
            each.unlink()
    _write(files, output, check=check)
    if stale and check:
        raise typer.Exit(1)


def _warn_of_sources(settings: Settings) -> None:
    # As above.
    from headrace.kubernetes.weights import (  # noqa: PLC0415 - see above
        unpinned_sources,
        unreachable_sources,
    )

    for line in (*unreachable_sources(settings), *unpinned_sources(settings)):
        print_note(f"Warning: {line}")


def _write(files: Mapping[str, str], output: Path, *, check: bool) -> None:
    changed = [
        name
        for name, text in files.items()
        if not (output / name).is_file() or (output / name).read_text(encoding="utf-8") != text
    ]
    if check:
        for name in changed:
            print_error(f"{output / name} is not what the settings render to; render it again")
        raise typer.Exit(1 if changed else 0)
    for name in changed:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(files[name], encoding="utf-8")
    print_note(
        f"{output}: {len(changed)} of {len(files)} files written, the others are as they were"
    )
