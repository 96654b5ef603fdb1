"""``headrace route``: pauses a route and resumes it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from consumer.engine.pausing import Pause
from consumer.kafka.admin.group_offsets import GroupOffsets, GroupState
from handoff.clock import SystemClock
from headrace.cli.options import ConfigOption, JsonOption, choose_route, read_settings
from headrace.cli.output import err, print_json, print_line, print_note
from headrace.errors import ServiceError, UserError
from headrace_client.cli.completion import complete_route
from schemas.settings.file import KafkaSettings, RouteSettings

MOST_REASON_CHARACTERS = 200
LOOK_EVERY_S = 0.5
_SPARE_S = 15.0
"""Besides the drain: until all consumers have heard of it, and the group of their leaving."""

NameArgument = Annotated[
    str, typer.Argument(help="The route.", autocompletion=complete_route, show_default=False)
]

route_app = typer.Typer(help="Pause a route, and resume it.", no_args_is_help=True)


@route_app.callback()
def route() -> None:
    """Pause a route of the service on the Ray cluster, and resume it."""


@route_app.command("pause")
def pause(
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; `headrace status` shows it.")] = "",
    wait: Annotated[
        bool, typer.Option(help="Wait until every consumer has left the group.")
    ] = True,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Have a route's consumers finish what is in flight, commit, and leave the group.

    The pause outlives restarts of replicas and `headrace up`; it ends by `headrace route resume`,
    or with the Ray cluster. Meanwhile requests wait in Kafka. Exits 1 if consumers are still in the
    group after their drain time.
    """
    settings = read_settings(config)
    _, chosen = choose_route(settings, name)
    if len(reason) > MOST_REASON_CHARACTERS:
        raise UserError(
            f"--reason: {len(reason)} characters are over {MOST_REASON_CHARACTERS}; be brief"
        )
    with _joined():
        from consumer.autoscaling.pauses import pause_route, stored_pause  # noqa: PLC0415 - as below

        known = stored_pause(name)
        since_ms = SystemClock().epoch_ms() if known is None else known.since_ms
        kept = Pause(since_ms, reason or ("" if known is None else known.reason))
        pause_route(name, kept)
    state = asyncio.run(_until_empty(settings.kafka, chosen, waits=wait))
    if json:
        print_json(
            {
                "route": name,
                "paused_since_ms": kept.since_ms,
                "reason": kept.reason,
                "group": chosen.group,
                "group_state": state.state,
                "members": list(state.members),
            }
        )
    else:
        _say_paused(name, chosen, state, was_paused=known is not None)
    if wait and not state.is_empty:
        raise typer.Exit(1)


@route_app.command("resume")
def resume(name: NameArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Have a paused route's consumers join the group again, within some seconds."""
    settings = read_settings(config)
    choose_route(settings, name)
    with _joined():
        from consumer.autoscaling.pauses import resume_route, stored_pause  # noqa: PLC0415 - as below

        known = stored_pause(name)
        resume_route(name)
    paused_s = 0.0 if known is None else known.lasts_s(SystemClock().epoch_ms())
    if json:
        print_json({"route": name, "was_paused": known is not None, "paused_s": paused_s})
    elif known is None:
        print_note(f"{name} was not paused")
    else:
        print_line(f"{name} goes on after {paused_s / 60:.0f} min; its consumers join again")


def _say_paused(name: str, route: RouteSettings, state: GroupState, *, was_paused: bool) -> None:
    paused = f"{name} {'was paused already' if was_paused else 'is paused'}"
    if state.is_empty:
        print_line(f"{paused}; group {route.group} is empty: `headrace offsets` may change it")
        return
    print_line(f"{paused}; {len(state.members)} members are still in group {route.group}:")
    for member in state.members:
        print_line(f"  {member}")
    print_note(
        "consumers leave once what is in flight is done, drain_timeout_s "
        f"({route.drain_timeout_s:g} s) at the latest; others are not of this service"
    )


async def _until_empty(kafka: KafkaSettings, route: RouteSettings, *, waits: bool) -> GroupState:
    clock = SystemClock()
    until_s = clock.monotonic() + route.drain_timeout_s + _SPARE_S
    async with GroupOffsets(kafka, route.group, route.requests_topic) as offsets:
        with err.status("waiting for the consumers to leave the group") as spinner:
            while True:
                state = await offsets.state()
                if state.is_empty or not waits or clock.monotonic() >= until_s:
                    return state
                spinner.update(f"{len(state.members)} members are still in group {route.group}")
                await asyncio.sleep(LOOK_EVERY_S)


@contextmanager
def _joined() -> Iterator[None]:
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above

    try:
        if not join_ray():
            raise ServiceError(
                f"{NO_CLUSTER}. The group of a service that does not run is empty anyway, so "
                "`headrace offsets` may change it"
            )
        yield
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Ray does not answer: {error}") from error
    finally:
        ray.shutdown()
