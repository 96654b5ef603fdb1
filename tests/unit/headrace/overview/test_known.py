"""Which models a route needs, by what runs."""

from headrace.overview.known import KnownService
from headrace.service.applications import specs_of
from schemas.settings.file import Settings

MODEL = {"kind": "custom", "import_path": "a:B", "urls": ["/v1/chat/completions"]}


def pipeline_of(model: str) -> dict[str, object]:
    step = {"model": model, "url": "/v1/chat/completions"}
    return {
        "kind": "pipeline",
        "urls": ["/v1/chat/completions"],
        "steps": {"only": step},
        "answer": "only",
    }


def test_a_route_needs_the_models_of_a_pipeline_in_its_pipeline() -> None:
    topics = {"requests_topic": "in", "results_topic": "out", "dead_letters_topic": "dead"}
    settings = Settings.model_validate(
        {
            "models": {
                "inner": MODEL,
                "guarded": pipeline_of("inner"),
                "outer": pipeline_of("guarded"),
            },
            "routes": {"r": {**topics, "group": "g", "model": "outer"}},
        }
    )

    running = KnownService.of_applications([each.built for each in specs_of(settings)])

    assert {each.name: each.routes for each in running.models} == {
        "inner": ["r"],
        "guarded": ["r"],
        "outer": ["r"],
    }
    assert {each.name for each in running.models} == {
        each.name for each in KnownService.of(settings).models
    }
