import pytest

from schemas.settings.models import (
    ClassifierSettings,
    CustomModelSettings,
    ModelSettings,
    RerankerSettings,
)
from schemas.settings.pipelines import PipelineSettings
from serve_models.deployments import actor_options, arguments_of, replica_class
from tests.unit.serve_models.fakes import settings


def test_a_replica_sets_its_resources_aside() -> None:
    assert actor_options(settings(num_cpus=0.5, num_gpus=0.25)) == {
        "ray_actor_options": {"num_cpus": 0.5, "num_gpus": 0.25}
    }


CLASSIFIER = ClassifierSettings(kind="classifier", source="path:/x")
PIPELINE = PipelineSettings.model_validate(
    {"kind": "pipeline", "urls": ["/v1/x"], "steps": {"a": {"model": "mine"}}, "answer": "a"}
)


@pytest.mark.parametrize(
    ("model", "name", "arguments"),
    [
        (settings(), "TextReplica", {"name", "settings"}),
        (
            ClassifierSettings(kind="classifier", source="path:/x"),
            "TextReplica",
            {"name", "settings"},
        ),
        (RerankerSettings(kind="reranker", source="path:/x"), "TextReplica", {"name", "settings"}),
        (
            CustomModelSettings(kind="custom", import_path="m:C", urls=("/v1/x",)),
            "CustomModel",
            {"settings"},
        ),
        (PIPELINE, "Pipeline", {"name", "settings", "models"}),
    ],
)
def test_each_kind_of_model_has_a_class(
    model: ModelSettings, name: str, arguments: set[str]
) -> None:
    replica = replica_class(model)

    assert replica.__name__ == name
    assert set(arguments_of("m", model, {})) == arguments
    # Serve hands every replica its live settings.
    assert hasattr(replica, "reconfigure")
