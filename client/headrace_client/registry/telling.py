"""Tells a job's runner, and what follows: as ``headrace jobs`` and the console do."""

from headrace_client.clock import epoch_ms
from headrace_client.errors import ClientError, MissingTopicError
from headrace_client.registry.announcements import Action, Command
from headrace_client.registry.commanding import publish_cancellation, publish_command
from headrace_client.registry.listing import forget, read_registry, wait_for_end
from headrace_client.registry.standing import JobStanding, Registry
from headrace_client.registry.tables import duration
from headrace_client.settings import ClientSettings
from headrace_client.wire.requests import cancel_job

RUNNER_ENDS_WITHIN_S = 20.0


async def read_jobs(settings: ClientSettings) -> Registry:
    """Return the registry, and take out of it the jobs that nobody spoke of for a week."""
    registry = await read_registry(settings.connection, settings.jobs_topic)
    await forget(settings.connection, settings.jobs_topic, registry.keys_to_forget(epoch_ms()))
    return registry


def standing_of(registry: Registry, job: str) -> JobStanding:
    """Return how a job stands; ``ClientError`` lists the jobs if there is none of that name."""
    standing = registry.job(job)
    if standing is not None:
        return standing
    names = [each.announcement.job for each in registry.jobs()]
    known = f"; there are {', '.join(names[:10])}" if names else ""
    raise ClientError(f"no runner has announced job {job}{known}")


async def tell(settings: ClientSettings, job: str, action: Action, *, by: str) -> list[str]:
    """Tell a job's runner to pause or to go on; return what follows, a line each.

    ``by`` is who says it, ``USER@HOST``. Raises ``ClientError`` if the job has ended or nobody has
    announced it.
    """
    standing = standing_of(await read_jobs(settings), job)
    _check_unfinished(standing)
    await publish_command(settings.connection, settings.jobs_topic, _command(job, action, by))
    return [_told(standing, action)]


async def cancel(
    settings: ClientSettings,
    job: str,
    route: str | None,
    *,
    by: str,
    takes_announced_topic: bool = True,
) -> list[str]:
    """Tell a job's runner to end, and the service not to compute what is published of it.

    The second needs the route's control topic, and works where the runner is dead, or nobody
    announced the job; ``route`` names it then. Returns and raises as ``tell``.

    Where ``settings`` do not have the topic, it is the one that the runner announced, if
    ``takes_announced_topic``. Whoever may write to the registry announces any topic, so that
    somebody with more rights than that must not take it.
    """
    standing = await _find(settings, job)
    name, control_topic = _control_of(settings, standing, route)
    if control_topic is None and route is None and standing is not None and takes_announced_topic:
        control_topic = standing.announcement.topics.control
    if standing is None and control_topic is None:
        raise ClientError(
            f"no runner has announced job {job}, and route {name} has no control_topic: name a "
            "topic there, run `headrace topics create`, and start the service again"
        )
    told = []
    if standing is not None:
        _check_unfinished(standing)
        command = _command(job, Action.CANCEL, by)
        await publish_command(settings.connection, settings.jobs_topic, command)
        told.append(_told(standing, Action.CANCEL))
    if control_topic is None or name is None:
        told.append(
            "its route has no control_topic: what is published of the job is still computed"
        )
        return told
    cancellation = cancel_job(name, job)
    await publish_cancellation(settings.connection, control_topic, cancellation)
    told.append(f"route {name}: what is published of the job is not computed")
    if standing is not None and standing.silent_since_ms(epoch_ms()) is None:
        # A cancellation covers what was published before it, and the runner may not have heard yet.
        ended = await wait_for_end(
            settings.connection, settings.jobs_topic, job, RUNNER_ENDS_WITHIN_S
        )
        await publish_cancellation(settings.connection, control_topic, cancellation)
        told.append("its runner has ended" if ended else "its runner has not ended yet")
    return told


async def _find(settings: ClientSettings, job: str) -> JobStanding | None:
    try:
        return (await read_jobs(settings)).job(job)
    except MissingTopicError:
        return None


def _control_of(
    settings: ClientSettings, standing: JobStanding | None, route: str | None
) -> tuple[str | None, str | None]:
    """Return the job's route, which its runner may have named, and the control topic it has."""
    name = route or (None if standing is None else standing.announcement.route)
    if standing is not None and name not in settings.routes:
        return name, None
    found = settings.routes.find(None, route=name)
    return found.name, found.control_topic


def _check_unfinished(standing: JobStanding) -> None:
    job = standing.announcement
    if job.is_finished:
        raise ClientError(f"job {job.job} is {job.state} already")


def _command(job: str, action: Action, by: str) -> Command:
    return Command(job=job, action=action, at_ms=epoch_ms(), by=by)


def _told(standing: JobStanding, action: Action) -> str:
    now_ms = epoch_ms()
    since_ms = standing.silent_since_ms(now_ms)
    if since_ms is not None:
        silent = duration((now_ms - since_ms) / 1000)
        return f"its runner has been silent for {silent}: it hears `{action}` when it starts again"
    if standing.announcement.state == "interrupted":
        return f"its runner has stopped: it hears `{action}` when it starts again"
    return f"its runner hears `{action}` within seconds"
