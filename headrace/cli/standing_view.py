"""How each route of `status` stands, and what it waits for. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from consumer.engine.waiting.waits import subject
from headrace.cli.output import printable
from headrace.overview.snapshot import Overview, Reason, ReasonCode, RouteState

_STYLES = {
    RouteState.RUNNING.value: "green",
    RouteState.STANDING_STILL.value: "bold red",
    RouteState.UNKNOWN.value: "dim",
}
_NOT_DEPLOYED = Reason(
    code=ReasonCode.NOT_DEPLOYED,
    text="the service that runs does not have it: `headrace up` deploys what the settings have",
)


def add_overview(report: dict[str, Any], overview: Overview) -> None:
    """Add to each route of a report its state, reasons, rates and latencies."""
    for name, route in report["routes"].items():
        found = overview.route(name)
        if found is None:
            state, reasons, values = RouteState.STANDING_STILL, [_NOT_DEPLOYED], {}
        else:
            state, reasons = found.state, found.reasons
            values = {
                key: value
                for key, value in Overview(at_ms=overview.at_ms, routes=[found])
                .to_dict()["routes"][0]
                .items()
                if key in ("latest", "minute", "latency", "held", "totals", "quiet_s")
            }
        route |= {
            **values,
            "state": state.value,
            "reasons": [{"code": each.code.value, "text": each.text} for each in reasons],
        }


def standing_view(report: Mapping[str, Any]) -> Group:
    """Return a line for each route, and under it what it waits for."""
    lines: list[Text] = []
    for name, route in report["routes"].items():
        state = route["state"]
        lines.append(Text.assemble(f"{name}: ", (state, _STYLES.get(state, "yellow"))))
        said = {subject(each["text"]) for each in route["reasons"]}
        # What brokers and consumers said is a moment newer or older, and mostly the same.
        others = [each for each in route["waits"] if subject(each) not in said]
        texts = [*(each["text"] for each in route["reasons"]), *others]
        lines += [Text(f"  {printable(each)}") for each in texts]
    told = "\n".join(line.plain for line in lines)
    lines += [
        Text(f"{name}: {line}", style="yellow")
        for name, line in report.get("deployments", {}).items()
        if line not in told
    ]
    return Group(*lines)
