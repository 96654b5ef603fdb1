"""``POST /classify``: request and response bodies as vLLM's classification API has them.

Beyond vLLM's fields: ``truncation`` in the request, ``probabilities`` by label in the response. A
response has no ``id`` and no ``created``: the result line around it has its own.
"""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.bodies.base import NOTHING_MORE, Answer, TextBody, Truncated, Usage, check_texts

CLASSIFY_URL = "/classify"


class ClassifyBody(TextBody):
    """What to classify. Fields that are not named here are ignored."""

    input: str | list[str] = Field(
        description="One text, or a list of them; none may be empty, unless the model's setting "
        "accept_empty_texts is true. Token ids are not accepted."
    )
    use_activation: bool | None = Field(
        default=None,
        description="False: probs holds the model's raw outputs (logits), and there are no "
        "probabilities.",
    )

    @field_validator("input", mode="before")
    @classmethod
    def _texts_only(cls, value: Any, info: ValidationInfo) -> Any:
        return check_texts(value, info.context or NOTHING_MORE)

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class Classification(Answer):
    """One text's classes."""

    index: int = Field(ge=0, description="The text's position in input.")
    label: str = Field(description="The label of the largest of probs.")
    probs: list[float] = Field(
        description="By class id. They sum to 1, save where a text may have several labels (the "
        "checkpoint's problem_type is multi_label_classification): each is then a probability of "
        "its own. Raw outputs for a regression."
    )
    num_classes: int = Field(ge=1)
    probabilities: dict[str, float] | None = Field(
        default=None, description="The same as probs, by label."
    )
    truncated: Truncated = None


class ClassifyResponse(Answer):
    """The response body of a 200."""

    object: Literal["list"]
    data: list[Classification] = Field(min_length=1)
    model: str
    usage: Usage
