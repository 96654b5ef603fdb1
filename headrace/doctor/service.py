"""What is wrong with Ray, and with the service that runs on it. Pure."""

from collections.abc import Iterator

from headrace.doctor.ray_probe import RayFacts
from headrace.overview.snapshot import Overview
from headrace.preflight.findings import Finding, Level


def ray_findings(facts: RayFacts) -> list[Finding]:
    if facts.runs is None:
        fix = (
            "use the cluster's versions of Ray and Python here"
            if "ersion" in facts.problem
            else "`ray stop` forgets a cluster that is gone; or start its head again"
        )
        return [Finding("error", "Ray", "cluster", facts.problem, fix)]
    if not facts.runs:
        says = "none runs on this machine; `headrace up` starts one"
        return [Finding("ok", "Ray", "cluster", says)]
    found = [
        Finding(
            "ok",
            "Ray",
            "cluster",
            f"Ray {facts.version}; nodes: {facts.nodes}, CPUs: {facts.free_cpus:g} of "
            f"{facts.cpus:g} free, GPUs: {facts.gpus:g}",
        )
    ]
    if facts.dead_nodes:
        found.append(
            Finding(
                "warning",
                "Ray",
                "nodes",
                f"{facts.dead_nodes} of {facts.nodes + facts.dead_nodes} have ended since the "
                "cluster began",
                "see whether they were meant to (`ray status`); what ran there was moved",
            )
        )
    return found


def service_findings(overview: Overview | None, no_service: str) -> list[Finding]:
    """Return what stands still or lacks replicas, or one finding that nothing does."""
    if overview is None:
        return [Finding("ok", "service", "service", no_service)] if no_service else []
    found = [*_routes(overview), *_deployments(overview)]
    found += [Finding("warning", "service", "overview", each) for each in overview.unanswered]
    if not found:
        names = ", ".join(each.name for each in overview.routes)
        found.append(Finding("ok", "service", f"routes {names}", "none stands still"))
    return found


def _routes(overview: Overview) -> Iterator[Finding]:
    for route in overview.routes:
        for reason in route.reasons[:3]:
            level: Level = "error" if route.is_standing_still and reason.blocks else "warning"
            yield Finding(level, "service", f"route {route.name}", reason.text)


def _deployments(overview: Overview) -> Iterator[Finding]:
    said = {reason.text for route in overview.routes for reason in route.reasons}
    for each in overview.deployments:
        if not any(each.why in text for text in said):
            yield Finding("warning", "service", each.name, each.why)
