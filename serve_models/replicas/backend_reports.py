"""What text models run on, in Ray's key-value store, where `headrace status` reads it."""

import json
import logging
from typing import Any

from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_initialized,
    _internal_kv_list,
    _internal_kv_put,
)

logger = logging.getLogger(__name__)

_NAMESPACE = b"headrace-backends"


def report_backend(model: str, backend: str, reason: str, agreement: dict[str, Any] | None) -> None:
    """Store what a model's replica runs on; blocks for a moment.

    ``agreement`` is that of a converted model with its checkpoint.
    """
    if not _internal_kv_initialized():
        return
    report = {"backend": backend, "reason": reason, "agreement": agreement}
    try:
        _internal_kv_put(
            model.encode(), json.dumps(report).encode(), overwrite=True, namespace=_NAMESPACE
        )
    except Exception as error:  # noqa: BLE001 -- only a display: it must not cost the replica
        logger.debug("the backend of %s was not reported: %r", model, error)


def reported_backends() -> dict[str, dict[str, Any]]:
    """Return what each model's replicas said last; needs a connection to Ray."""
    reports = {}
    for key in sorted(_internal_kv_list(b"", namespace=_NAMESPACE)):
        value = _internal_kv_get(key, namespace=_NAMESPACE)
        if value is not None:
            reports[key.decode()] = json.loads(value)
    return reports
