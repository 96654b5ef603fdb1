"""Whether traces can be sent as the settings say."""

from handoff.tracing.headers import read_headers
from handoff.tracing.opening import TracingError
from headrace.preflight.findings import Finding
from schemas.settings.tracing import TracingSettings

_SETTING = "tracing.headers_file"


def tracing_findings(tracing: TracingSettings) -> list[Finding]:
    """Return what is wrong with the file of headers, as it is on this machine."""
    if not tracing.enabled:
        return []
    try:
        read_headers(tracing)
    except TracingError as error:
        fix = "replicas run without traces; put the file where they run, or set headers_file"
        says = str(error).removeprefix(f"{_SETTING}: ")
        return [Finding("warning", "traces", _SETTING, says, fix)]
    return []
