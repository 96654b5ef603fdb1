"""How pipelines and the models that they call fit together."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from schemas.settings.models import ModelSettings
from schemas.settings.pipelines import PipelineSettings, StepSettings


def check_pipelines(models: Mapping[str, ModelSettings]) -> None:
    """Raise ``ValueError`` if a step's model is missing, lacks the url, or leads back."""
    pipelines = {name: each for name, each in models.items() if isinstance(each, PipelineSettings)}
    for name, pipeline in pipelines.items():
        for step_name, step in pipeline.steps.items():
            where = f"models.{name}.steps.{step_name}"
            if step.model not in models:
                known = ", ".join(sorted(models))
                raise ValueError(f"{where}.model: no model '{step.model}'; models has: {known}")
            _check_urls(where, pipeline, step, models[step.model])
    try:
        TopologicalSorter(
            {name: _called(pipeline) for name, pipeline in pipelines.items()}
        ).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        raise ValueError(
            f"models.{circle[0]}.steps: a pipeline may not call itself, directly or through others "
            f"({' → '.join(circle)}); name another model"
        ) from None


def models_behind(models: Mapping[str, ModelSettings], name: str) -> tuple[str, ...]:
    """Return a model and those that it calls, each once and after those that it calls itself."""
    found: dict[str, None] = {}

    def visit(each: str) -> None:
        if each not in found:
            model = models[each]
            for called in _called(model) if isinstance(model, PipelineSettings) else ():
                visit(called)
            found[each] = None

    visit(name)
    return tuple(found)


def _called(pipeline: PipelineSettings) -> tuple[str, ...]:
    return tuple(step.model for step in pipeline.steps.values())


def _check_urls(
    where: str, pipeline: PipelineSettings, step: StepSettings, model: ModelSettings
) -> None:
    answered = ", ".join(sorted(model.endpoints))
    if step.url is not None:
        if step.url not in model.endpoints:
            raise ValueError(
                f"{where}.url: model '{step.model}' does not answer {step.url}; set it to one of: "
                f"{answered}"
            )
        return
    for url in pipeline.urls:
        if url not in model.endpoints:
            raise ValueError(
                f"{where}.url: is unset, so the step takes the request's own, and model "
                f"'{step.model}' does not answer the pipeline's {url}; set it to one of: {answered}"
            )
