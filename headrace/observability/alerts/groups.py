"""All alerts of a settings file, in the groups that Prometheus evaluates. Pure."""

from collections.abc import Iterator
from typing import Any

from headrace.observability.alerts.alert import Alert, Pace
from headrace.observability.alerts.consumers import consumer_alerts
from headrace.observability.alerts.models import breaker_alerts, model_alerts
from headrace.observability.alerts.records import record_alerts
from schemas.settings.file import Settings


def alert_groups(settings: Settings, pace: Pace | None = None) -> list[dict[str, Any]]:
    """Return a group of rules for each route, and one for each model that they call.

    Args:
        settings: Routes with their own limits, and the models that they call.
        pace: How long the windows are; as they stand where it is not given.
    """
    pace = pace or Pace()
    return [
        {"name": name, "rules": [alert.rule(pace) for alert in alerts]}
        for name, alerts in _alerts_by_group(settings, pace)
        if alerts
    ]


def _alerts_by_group(settings: Settings, pace: Pace) -> Iterator[tuple[str, list[Alert]]]:
    for name, route in settings.routes.items():
        of_route = (consumer_alerts, record_alerts, breaker_alerts)
        yield f"headrace-{name}", [each for make in of_route for each in make(name, route, pace)]
    for name, model in settings.called_models.items():
        yield f"headrace-model-{name}", list(model_alerts(name, model, pace))
