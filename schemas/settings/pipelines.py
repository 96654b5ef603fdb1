"""The settings of a pipeline, a small graph of models."""

from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from schemas.names import Name
from schemas.settings.pipeline_references import REQUEST, Reference, parse_reference, references_in
from schemas.settings.replicas import ReplicaSettings
from schemas.settings.section import Section


class Condition(Section):
    """When a request is refused: one comparison with a value.

    ``value`` is a reference: ``$request.body.PATH``, ``$request.text``, or ``$STEP.PATH`` into the
    response body of a step, the condition's own included. A path's parts are keys, or positions in
    a list.
    """

    value: str = Field(
        pattern=r"^\$[a-z0-9-]+(\.[^.\s]+)+$",
        description="A reference, e.g. $guard.data.0.label.",
    )
    equals: JsonValue = Field(default=None, description="It holds if the value is this one.")
    at_least: float | None = Field(
        default=None, description="It holds if the value is a number from this on."
    )
    at_most: float | None = Field(
        default=None, description="It holds if the value is a number up to this one."
    )

    @field_validator("value")
    @classmethod
    def _refers_to_something(cls, value: str) -> str:
        parse_reference(value)
        return value

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        given = self.model_fields_set & {"equals", "at_least", "at_most"}
        if len(given) != 1:
            raise ValueError("set exactly one of equals, at_least and at_most")
        return self


class Refusal(Section):
    """Ends a request with a refusal if a condition holds after a step."""

    when: Condition = Field(description="The condition.")
    code: str = Field(
        default="content_filter",
        min_length=1,
        max_length=64,
        description="The error's code in the result.",
    )
    message: str = Field(
        default="the request was refused by a guard",
        min_length=1,
        description="The error's message in the result.",
    )


class StepSettings(Section):
    """One step of a pipeline: a model, what it is asked, and when it ends the request.

    A step runs when the steps that its body refers to, and those in ``after``, are done. Steps that
    do not need each other run at the same time.
    """

    model: Name = Field(description="A key of models.")
    url: str | None = Field(default=None, description="The endpoint; the request's own if unset.")
    body: dict[str, JsonValue] | None = Field(
        default=None,
        description="The request body for this step, with references as values; the request's own "
        "if unset.",
    )
    after: tuple[Name, ...] = Field(default=(), description="Steps that must be done before.")
    refuse: tuple[Refusal, ...] = Field(
        default=(), description="The first condition that holds ends the request here."
    )

    @field_validator("body")
    @classmethod
    def _references_can_be_read(cls, body: dict[str, JsonValue] | None) -> Any:
        for _ in references_in(body):
            pass
        return body

    @property
    def references(self) -> tuple[Reference, ...]:
        conditions = (parse_reference(refusal.when.value) for refusal in self.refuse)
        return (*references_in(self.body), *conditions)

    def needs(self, name: str) -> frozenset[str]:
        """Return the steps that must be done before this one, which is called ``name``."""
        roots = {reference.root for reference in self.references}
        return frozenset({*roots, *self.after} - {REQUEST, name})


class PipelineSettings(ReplicaSettings):
    """A small graph of models that answers as one model."""

    work_field: ClassVar = None

    kind: Literal["pipeline"] = Field(description="A pipeline.")
    num_cpus: float = Field(
        default=0.25,
        ge=0,
        description="Logical CPUs that Ray reserves for each replica, which computes little.",
    )
    served_names: tuple[str, ...] = Field(
        default=(),
        description="Other names that body.model may carry; the steps get their body without them.",
    )
    urls: tuple[str, ...] = Field(min_length=1, description="The endpoints that it answers.")
    steps: dict[Name, StepSettings] = Field(
        min_length=1, max_length=32, description="The steps, by name."
    )
    answer: Name = Field(description="The step whose response is the pipeline's.")
    window_records: int = Field(
        default=256, ge=1, description="Records in flight in one replica of the pipeline."
    )
    step_linger_ms: float = Field(
        default=3.0, ge=0, description="How long records gather before they go to a step's model."
    )
    outcome_linger_ms: float = Field(
        default=10.0, ge=0, description="How long outcomes gather before they are streamed back."
    )

    @model_validator(mode="after")
    def _steps_form_a_graph(self) -> Self:
        if REQUEST in self.steps:
            raise ValueError(
                f"steps.{REQUEST}: the name stands for the request in references; rename the step"
            )
        known = ", ".join(self.steps)
        if self.answer not in self.steps:
            raise ValueError(f"answer: no step '{self.answer}'; steps has: {known}")
        for name, step in self.steps.items():
            if name in step.after:
                raise ValueError(f"steps.{name}.after: names the step itself; leave it out")
            if any(reference.root == name for reference in references_in(step.body)):
                raise ValueError(
                    f"steps.{name}.body: refers to the step's own response, which is not there "
                    "yet; refer to another step"
                )
            for each in sorted(step.needs(name)):
                if each not in self.steps:
                    where = "after" if each in step.after else "body and refuse"
                    raise ValueError(f"steps.{name}.{where}: no step '{each}'; steps has: {known}")
        try:
            TopologicalSorter(
                {name: step.needs(name) for name, step in self.steps.items()}
            ).prepare()
        except CycleError as error:
            circle = " → ".join(reversed(error.args[1]))
            raise ValueError(
                f"steps: wait for each other in a circle ({circle}); take one reference or one "
                "entry of after out"
            ) from None
        return self

    @property
    def endpoints(self) -> frozenset[str]:
        return frozenset(self.urls)
