"""The section ``logging`` of the settings file."""

from typing import Literal

from pydantic import Field

from schemas.settings.section import Section


class LoggingSettings(Section):
    """What the processes of the service write to their logs."""

    format: Literal["plain", "json"] = Field(
        default="plain",
        description="plain: lines for people. json: one JSON object a line, Ray Serve's own lines "
        "too.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least level of Headrace's lines, and of Ray Serve's about Headrace's "
        "replicas.",
    )
