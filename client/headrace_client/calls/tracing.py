"""The caller's trace, for requests to continue; OpenTelemetry need not be installed."""

import sys
from typing import Any

from headrace_client.wire.names import Headers


def trace_headers() -> Headers:
    """Return the headers of the current span, as the program's propagator writes them.

    None without a span. A program with a span has imported OpenTelemetry, so this never does.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return ()
    from opentelemetry.propagate import inject  # noqa: PLC0415 - see above

    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple((name, value.encode()) for name, value in carrier.items())
