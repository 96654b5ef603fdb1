"""What a model's replicas chose by themselves, kept in Ray's key-value store for `status`.

The latest replica's word counts. The store lives as long as the cluster; a reader leaves out models
that do not run.
"""

import logging

from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

logger = logging.getLogger(__name__)

_NAMESPACE = b"headrace-models-run-on"


def report_runs_on(model: str, *facts: str) -> None:
    """Tell the log and `status` what a model runs on: a device, a number format, and so on."""
    logger.info(
        "%s runs on %s",
        model,
        ", ".join(facts),
        extra={"event": "model_loaded", "model": model, "runs_on": list(facts)},
    )
    _internal_kv_put(model.encode(), "\n".join(facts).encode(), True, namespace=_NAMESPACE)


def reported_runs_on() -> dict[str, list[str]]:
    """Return the facts by model; needs a connection to Ray."""
    found = {}
    for key in sorted(_internal_kv_list(b"", namespace=_NAMESPACE)):
        value = _internal_kv_get(key, namespace=_NAMESPACE)
        if value is not None:
            found[key.decode()] = value.decode().split("\n")
    return found
