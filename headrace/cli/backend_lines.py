"""What a text model runs on, in words. Pure."""

from typing import Any


def backend_line(report: dict[str, Any]) -> str:
    """Return the backend, why it was chosen, and how it agrees with the checkpoint."""
    line = f"runs on {report['backend']} ({report['reason']})"
    agreement = report["agreement"]
    return line if agreement is None else f"{line}; {agreement_line(agreement)}"


def agreement_line(agreement: dict[str, Any]) -> str:
    return (
        f"{agreement['measure']} to float32 on {agreement['texts']} sample texts: "
        f"mean {agreement['mean']:.4f}, minimum {agreement['minimum']:.4f}"
    )
