import pytest

from schemas.settings.models import (
    ClassifierSettings,
    CustomModelSettings,
    ModelSettings,
    RerankerSettings,
)
from schemas.settings.pipelines import PipelineSettings
from serve_models.deployments import (
    actor_options,
    arguments_of,
    replica_class,
    with_weights_cache,
)
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
            {"name", "settings"},
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


def test_replicas_find_weights_where_the_settings_keep_them() -> None:
    options = {"ray_actor_options": {"num_cpus": 2, "num_gpus": 0}}

    assert with_weights_cache(options, None) == options
    assert with_weights_cache(options, "/srv/weights") == {
        "ray_actor_options": {
            "num_cpus": 2,
            "num_gpus": 0,
            "runtime_env": {"env_vars": {"HEADRACE_CACHE": "/srv/weights"}},
        }
    }
    other = {"ray_actor_options": {"runtime_env": {"env_vars": {"A": "1"}, "pip": []}}}
    assert with_weights_cache(other, "/w")["ray_actor_options"]["runtime_env"] == {
        "env_vars": {"A": "1", "HEADRACE_CACHE": "/w"},
        "pip": [],
    }
