"""Which settings change while replicas run, which are Serve's, and which need a restart."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from schemas.settings.file import RouteSettings
from schemas.settings.section import Section

AnySection = TypeVar("AnySection", bound=Section)

LIVE_ROUTE_KEYS = (
    "fail_with_result",
    "flow.chunk_records",
    "flow.max_bytes",
    "flow.max_records",
    "flow.max_records_per_s",
    "flow.max_tokens_per_s",
    "limits",
    "reply_topics",
    "retry.first_backoff_ms",
    "retry.max_attempts",
    "retry.max_backoff_ms",
    "retry.on",
)
SERVE_ROUTE_KEYS = ("autoscaling", "consumers")
TOPIC_ROUTE_KEYS = ("topics",)
"""Only what creates topics reads them."""
ALERT_ROUTE_KEYS = ("alerts",)
"""Only what renders alerts reads them."""

_TEXT_KEYS = (
    "accept_empty_texts",
    "max_batch_texts",
    "max_inputs_per_request",
    "max_wait_ms",
    "outcome_linger_ms",
    "served_names",
    "token_budget_tokens",
)
LIVE_MODEL_KEYS: Mapping[str, tuple[str, ...]] = {
    "embedder": (*_TEXT_KEYS, "default_prompt_name", "prompts"),
    "classifier": _TEXT_KEYS,
    "reranker": _TEXT_KEYS,
    "generator": ("adapters", "in_flight_ratio", "outcome_linger_ms"),
    "pipeline": ("outcome_linger_ms", "step_linger_ms", "window_records"),
    "custom": (),
}
SERVE_MODEL_KEYS = (
    "autoscaling",
    "graceful_shutdown_timeout_s",
    "health_check_period_s",
    "health_check_timeout_s",
    "max_ongoing_requests",
    "replicas",
)


def plain(section: Section) -> dict[str, Any]:
    """Return what a section sets as JSON values, defaults left out; secrets are masked."""
    values = section.model_dump(mode="json", exclude_unset=True)
    fields = type(section).model_fields
    # An empty section says nothing, save where without it something is off, as TLS is.
    return {
        key: value
        for key, value in values.items()
        if value != {}
        or fields[key].get_default(call_default_factory=True) != getattr(section, key)
    }


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, as ``KEY`` or ``SECTION.KEY``."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [f"{key}.{each}" for each in changed_keys(old, new)]
        elif old != new:
            found.append(key)
    return found


def split(values: Mapping[str, Any], keys: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``values`` without ``keys`` (``KEY`` or ``SECTION.KEY``), and ``keys`` alone."""
    rest, taken = dict(values), {}
    for key in keys:
        head, _, tail = key.partition(".")
        if head not in rest:
            continue
        if not tail:
            taken[head] = rest.pop(head)
        elif tail in rest[head]:
            rest[head], moved = split(rest[head], (tail,))
            taken[head] = {**taken.get(head, {}), **moved}
            if not rest[head]:
                del rest[head]
    return rest, taken


def route_with_live(route: RouteSettings, live: Mapping[str, Any]) -> RouteSettings:
    """Return a route with new values of its live keys; those that ``live`` lacks are defaults."""
    return _with_live(route, LIVE_ROUTE_KEYS, live)


def model_with_live(model: AnySection, live: Mapping[str, Any]) -> AnySection:
    """Return a model with new values of its live keys; those that ``live`` lacks are defaults."""
    return _with_live(model, LIVE_MODEL_KEYS[plain(model)["kind"]], live)


def _with_live(section: AnySection, keys: Iterable[str], live: Mapping[str, Any]) -> AnySection:
    rest, _ = split(plain(section), keys)
    for key, value in live.items():
        rest[key] = {**rest.get(key, {}), **value} if isinstance(value, dict) else value
    return type(section).model_validate(rest)
