from schemas.settings.models import (
    ClassifierSettings,
    CustomModelSettings,
    ModelSettings,
    RerankerSettings,
)
from serve_models.deployments import deployment_for, replica_options
from tests.unit.serve_models.fakes import settings


def test_settings_become_the_deployments_options() -> None:
    options = replica_options(
        settings(replicas=3, num_cpus=0.5, num_gpus=0.25, max_ongoing_requests=7)
    )
    assert options["num_replicas"] == 3
    assert options["ray_actor_options"] == {"num_cpus": 0.5, "num_gpus": 0.25}
    assert options["max_ongoing_requests"] == 7
    assert set(options) >= {"health_check_period_s", "graceful_shutdown_timeout_s"}


def test_each_kind_of_model_has_a_deployment() -> None:
    custom = CustomModelSettings(kind="custom", import_path="m:C", urls=("/v1/x",))
    models: dict[str, ModelSettings] = {
        "minilm": settings(replicas=2),
        "guard": ClassifierSettings(kind="classifier", source="path:/x", replicas=3),
        "rank": RerankerSettings(kind="reranker", source="path:/x"),
        "mine": custom,
    }
    for name, model in models.items():
        application = deployment_for(name, model)
        deployment = application._bound_deployment
        assert deployment.name == f"model-{name}"
        assert deployment.num_replicas == model.replicas
