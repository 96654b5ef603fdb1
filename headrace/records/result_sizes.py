"""Checks whether the answers to the largest allowed requests can be published."""

from collections.abc import Iterator

from schemas.settings.file import Settings
from schemas.settings.models import EmbedderSettings, weight_sources

_FLOAT_BYTES = 12
"""The size of a component as JSON, with its comma."""
_BASE64_BYTES = 4 * 4 / 3


def describe_oversized(settings: Settings) -> Iterator[str]:
    """Yield a line on each route whose requests may ask for vectors that do not fit in a result.

    Only models whose weights are on this machine tell the width of their vectors.
    """
    for name, route in settings.routes.items():
        model = settings.models[route.model]
        if not isinstance(model, EmbedderSettings) or route.claim_check is not None:
            continue
        width = _width_of(model, settings)
        limit_bytes = route.limits.max_result_bytes
        if width is None or model.max_inputs_per_request * width * _FLOAT_BYTES <= limit_bytes:
            continue
        as_floats = int(limit_bytes / width / _FLOAT_BYTES)
        in_base64 = int(limit_bytes / width / _BASE64_BYTES)
        yield (
            f"routes.{name}.limits.max_result_bytes: {limit_bytes:,} bytes hold the vectors of "
            f"some {as_floats:,} texts as numbers, or {in_base64:,} in base64 ({width:,} "
            f"components each), and models.{route.model}.max_inputs_per_request lets one request "
            f"have {model.max_inputs_per_request:,}: more than fits is refused. Lower that, "
            "raise this, or set claim_check"
        )


def _width_of(model: EmbedderSettings, settings: Settings) -> int | None:
    # The libraries behind it are slow to import, and `check` mostly does not need them.
    from serve_models.text.models.vector_widths import read_vector_width  # noqa: PLC0415 - see above
    from serve_models.weights.sources import ModelSourceError, resolve  # noqa: PLC0415 - see above

    try:
        [source] = weight_sources(model)
        return read_vector_width(resolve(source, settings.weights.cache, converts=False))
    except ModelSourceError:
        return None
