"""The names that settings and records may have."""

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ReplyTopicPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,248}([A-Za-z0-9._-]|\*)?$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
