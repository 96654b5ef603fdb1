"""Control records: what the service is asked to stop. One JSON object a record."""

from typing import Annotated, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.names import Name
from schemas.wire.requests import CustomId, describe_validation_error

MAX_CONTROL_BYTES = 16_384
MAX_JOB_CHARACTERS = 512

_TARGETS = ("custom_id", "job", "whole_route")

Job = Annotated[str, Field(min_length=1, max_length=MAX_JOB_CHARACTERS)]


class UnreadableControlError(ValueError):
    """A record on the control topic says nothing that can be followed; it is skipped."""


class ControlRecord(BaseModel):
    """Stop requests of one route that were published no later than this record.

    What is meant is named by exactly one of ``custom_id``, ``job`` and ``whole_route``. "No later"
    is by the records' timestamps, so that a job's name may be used again afterwards.
    """

    # Unknown fields are refused: what would narrow a cancellation down must not be passed over.
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"oneOf": [{"required": [target]} for target in _TARGETS]},
    )

    action: Literal["cancel"] = Field(description="Always cancel.")
    route: Name = Field(description="The route whose requests are meant.")
    custom_id: CustomId | None = Field(default=None, description="Requests of this custom_id.")
    job: Job | None = Field(
        default=None, description="Requests whose header headrace-job has this value."
    )
    whole_route: Literal[True] | None = Field(
        default=None, description="true: every request of the route."
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        named = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"name exactly one of {', '.join(_TARGETS)}")
        return self

    @property
    def key(self) -> bytes:
        """The record's key: of several for the same target the last is enough."""
        return f"{self.route}/{self.target}".encode()

    @property
    def target(self) -> str:
        """What is to be stopped, for a person."""
        if self.custom_id is not None:
            return f"custom_id {self.custom_id}"
        return f"job {self.job}" if self.job is not None else "every request"

    def to_json(self) -> bytes:
        return orjson.dumps(self.model_dump(exclude_none=True))


def parse_control_record(value: bytes | None) -> ControlRecord:
    """Read a control record's value; ``UnreadableControlError`` names what is wrong."""
    if value is None:
        raise UnreadableControlError("the record has no value")
    if len(value) > MAX_CONTROL_BYTES:
        raise UnreadableControlError(
            f"the value has {len(value):,} bytes, over the {MAX_CONTROL_BYTES:,} that it may have"
        )
    try:
        return ControlRecord.model_validate(orjson.loads(value))
    except orjson.JSONDecodeError as error:
        raise UnreadableControlError(f"the value is not UTF-8 JSON ({error})") from None
    except ValidationError as error:
        raise UnreadableControlError(describe_validation_error(error)) from None
