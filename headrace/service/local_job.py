"""A whole service for one job on this machine: ``headrace bulk embed --local``.

The client's command finds it by the entry point group ``headrace.local``, and knows of it only
what ``local_service`` takes and yields.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from headrace.cli.options import choose_route
from headrace.settings.file import find_settings_file, load_settings, parse_settings
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, RouteSettings, Settings

_WITHOUT_SETTINGS = "local.yaml"


@contextmanager
def local_service(
    *, config: Path | None, route: str | None, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Start a broker, Ray and the model of one route; stop them at the end.

    Start it from the thread that will end it: a local broker dies with the thread that started it.

    Args:
        config: The settings file; where unset, ``$HEADRACE_CONFIG`` or ``./headrace.yaml``, and
            the shipped embedding model where there is none of them.
        route: The route whose model is wanted; may be unset where there is one only.
        say: Takes one line on each step, for a person.

    Yields:
        A document as of ``headrace.yaml`` with the sections ``kafka``, ``models`` and ``routes``:
        where the service is to be reached, and its one route.

    Raises:
        UserError, SettingsError, ServiceError, BrokerStartError: The message says what to do.
    """
    # Ray takes seconds to import: a typo in the settings should not wait for that.
    with _running(local_settings(_read(config), route), say) as document:
        yield document


def serving(settings: Settings) -> Callable[..., AbstractContextManager[dict[str, Any]]]:
    """Return what starts the service of ``settings``, in place of ``local_service``."""

    @contextmanager
    def start(
        *, config: Path | None, route: str | None, say: Callable[[str], None]
    ) -> Iterator[dict[str, Any]]:
        del config
        with _running(local_settings(settings, route), say) as document:
            yield document

    return start


@contextmanager
def _running(settings: Settings, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    from headrace.service.service import LocalService  # noqa: PLC0415 - see above

    with tempfile.TemporaryDirectory(prefix="headrace-local-") as folder:
        service = LocalService(settings, data_dir=Path(folder), use_ray="local", say=say)
        with service:
            yield service.settings.model_dump(mode="json", exclude_unset=True)


def local_settings(settings: Settings, route: str | None) -> Settings:
    """Return one route of ``settings`` and its models, on a new broker and topics of its own."""
    name, chosen = choose_route(settings, route)
    own = f"local-{secrets.token_hex(4)}"
    topics = {
        "requests_topic": f"{own}.requests",
        "results_topic": f"{own}.results",
        "dead_letters_topic": f"{own}.dead-letters",
        "group": own,
    }
    models = {each: settings.models[each] for each in settings.models_behind(chosen.model)}
    values = chosen.model_dump(exclude_unset=True)
    values.pop("control_topic", None)
    return Settings(
        kafka=KafkaSettings(broker=_broker_of(settings), bootstrap="127.0.0.1:0"),
        models=models,
        routes={name: RouteSettings.model_validate({**values, **topics})},
        # The command that runs the job shows how it stands.
        console=ConsoleSettings(enabled=False),
    )


def _broker_of(settings: Settings) -> Any:
    return "embedded" if settings.kafka.broker == "external" else settings.kafka.broker


def _read(config: Path | None) -> Settings:
    path = find_settings_file(config)
    if config is None and not path.exists():
        shipped = files("headrace").joinpath("data", _WITHOUT_SETTINGS).read_bytes()
        return parse_settings(shipped, "the shipped settings")
    return load_settings(path)
