"""Which applications a settings file deploys, and who calls whom."""

import re
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from headrace.kubernetes.serve_config import serve_config
from headrace.service.applications import specs_of
from headrace.service.changes import Action, RunningApplication, plan
from headrace.service.stop_times import service_stop_timeout_s
from headrace.settings.file import parse_settings
from schemas.settings.file import Settings
from schemas.settings.logs import LoggingSettings
from schemas.settings.weights import WeightsSettings
from tests.unit.headrace.service.deployed import deployed

MODELS = """\
models:
  inner:
    kind: pipeline
    urls: [/v1/x]
    answer: two
    steps:
      one: {model: shared}
      two: {model: last, after: [one]}
  outer:
    kind: pipeline
    urls: [/v1/x]
    answer: one
    steps:
      one: {model: inner}
      two: {model: shared}
  shared: {kind: custom, import_path: "a:B", urls: [/v1/x]}
  last: {kind: custom, import_path: "a:B", urls: [/v1/x], graceful_shutdown_timeout_s: 900}
  unused: {kind: custom, import_path: "a:B", urls: [/v1/x], graceful_shutdown_timeout_s: 5}
routes:
"""
DOCS = Path(__file__).parents[4] / "docs" / "pipelines.md"


def settings_for(*models: str) -> Settings:
    routes = [
        f"  r{number}: {{model: {model}, requests_topic: in{number}, results_topic: out{number}, "
        f"dead_letters_topic: dead, group: g}}\n"
        for number, model in enumerate(models)
    ]
    return parse_settings((MODELS + "".join(routes)).encode())


def test_where_nobody_chose_a_start_serve_keeps_what_runs() -> None:
    scaled = """\
models:
  chosen: {kind: custom, import_path: "a:B", urls: [/v1/x], replicas: 3,
    autoscaling: {max_replicas: 4}}
  left: {kind: custom, import_path: "a:B", urls: [/v1/x], autoscaling: {max_replicas: 4}}
routes:
  a: {model: chosen, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g,
      autoscaling: {max_replicas: 4}}
  b: {model: left, requests_topic: j, results_topic: p, dead_letters_topic: d, group: h,
      consumers: 9, autoscaling: {max_replicas: 4}}
"""
    config = {
        name: each._deployment_config.autoscaling_config
        for name, each in deployed(parse_settings(scaled.encode())).items()
    }

    assert config["model-chosen"].initial_replicas == 3
    assert config["model-left"].initial_replicas is None
    assert config["consumer-a"].initial_replicas is None
    assert config["consumer-b"].initial_replicas == 4


@pytest.mark.parametrize(
    ("routes", "models"),
    [
        (("last",), {"last"}),
        (("inner",), {"inner", "shared", "last"}),
        (("outer",), {"outer", "inner", "shared", "last"}),
        (("outer", "shared", "inner", "outer"), {"outer", "inner", "shared", "last"}),
    ],
)
def test_what_routes_and_pipelines_call_is_deployed_once(
    routes: tuple[str, ...], models: set[str]
) -> None:
    names = deployed(settings_for(*routes))
    assert {each for each in names if each.startswith("model-")} == {
        f"model-{model}" for model in models
    }
    # With the status board and the console.
    assert len(names) == len(models) + len(routes) + 2


def test_a_pipeline_gets_the_handles_of_its_steps_models() -> None:
    pipeline = deployed(settings_for("outer"))["model-outer"]
    arguments = pipeline.init_kwargs
    assert arguments["name"] == "outer"
    assert {
        name: (each.app_name, each.deployment_name) for name, each in arguments["models"].items()
    } == {
        "inner": ("headrace-model-inner", "model-inner"),
        "shared": ("headrace-model-shared", "model-shared"),
    }
    assert pipeline.ray_actor_options["num_cpus"] == 0.25


def test_a_stop_waits_for_the_models_of_a_pipelines_steps() -> None:
    assert service_stop_timeout_s(settings_for("outer")) == 930


@pytest.mark.parametrize("number", range(2))
def test_the_examples_in_the_documentation_are_legal(number: int) -> None:
    examples = re.findall(r"```yaml\n(models:.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(examples) == 2
    content = yaml.safe_load(examples[number])
    pipelines = [name for name, each in content["models"].items() if each["kind"] == "pipeline"]
    assert [route["model"] for route in content["routes"].values()] == pipelines
    settings = parse_settings(examples[number].encode())
    assert set(settings.models_behind(pipelines[0])) == set(content["models"])


def test_settings_become_serve_s_options() -> None:
    text = """\
models:
  m: {kind: custom, import_path: "a:B", urls: [/v1/x], replicas: 3, max_ongoing_requests: 7,
      health_check_period_s: 2.0, graceful_shutdown_timeout_s: 90.0}
routes:
  r: {model: m, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g, consumers: 2}
"""
    found = deployed(parse_settings(text.encode()))

    model = found["model-m"]._deployment_config
    assert (model.num_replicas, model.max_ongoing_requests) == (3, 7)
    assert (model.health_check_period_s, model.graceful_shutdown_timeout_s) == (2.0, 90.0)
    consumer = found["consumer-r"]._deployment_config
    assert (consumer.num_replicas, consumer.graceful_shutdown_timeout_s) == (2, 75.0)
    assert found["consumer-r"].ray_actor_options["num_cpus"] == 0.5


def test_models_are_built_again_where_their_weights_are_kept_elsewhere() -> None:
    settings = settings_for("shared")
    moved = settings.model_copy(update={"weights": WeightsSettings(cache=Path("/srv/weights"))})
    before, after = ({spec.name: spec for spec in specs_of(each)} for each in (settings, moved))

    assert {name for name in after if after[name].version != before[name].version} == {
        "headrace-model-shared"
    }
    model = deployed(moved)["model-shared"]
    assert model.ray_actor_options["runtime_env"] == {
        "env_vars": {"HEADRACE_CACHE": "/srv/weights"}
    }


@pytest.mark.parametrize("form", ["plain", "json"])
def test_the_form_of_logs_is_serves_business_and_restarts_nothing(form: str) -> None:
    settings = settings_for("shared")
    changed = settings.model_copy(update={"logging": LoggingSettings(format=form, level="debug")})
    before, after = specs_of(settings), specs_of(changed)

    assert [each.version for each in before] == [each.version for each in after]
    assert all("logging_config" not in each.options for each in before)
    encoding = {"plain": "TEXT", "json": "JSON"}[form]
    assert all(
        each.options["logging_config"] == {"encoding": encoding, "log_level": "DEBUG"}
        for each in after
    )
    running = {
        each.name: RunningApplication(built=each.built, live=each.live, options=each.options)
        for each in before
    }
    assert {each.action for each in plan(running, after)} == {Action.LIVE}


def test_a_config_file_says_the_form_for_serve_and_for_each_deployment() -> None:
    settings = settings_for("shared").model_copy(update={"logging": LoggingSettings(format="json")})
    config = serve_config(settings)
    [logs] = {str(each["deployments"][0]["logging_config"]) for each in config["applications"]}

    assert config["logging_config"] == {"encoding": "JSON", "log_level": "INFO"}
    assert "'enable_access_log': False" in logs
    ServeDeploySchema.model_validate(config)


def test_a_config_file_without_the_section_says_nothing_of_logs() -> None:
    assert "logging_config" not in str(serve_config(settings_for("shared")))
