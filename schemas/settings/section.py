"""What every part of the settings file is made of."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the settings file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
