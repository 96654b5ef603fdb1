"""What a generator asks of a cluster; as far as the deployment, as no test has several GPUs."""

from typing import Any

import pytest
from pydantic import ValidationError
from ray import serve

from schemas.settings.models import GeneratorSettings
from serve_models.deployments import actor_options
from serve_models.generation.placement import placed_engine_args, placement_options


def generator(**changes: object) -> GeneratorSettings:
    return GeneratorSettings.model_validate(
        {"kind": "generator", "source": "path:/nowhere", **changes}
    )


def test_one_worker_is_one_actor() -> None:
    assert placement_options(generator(num_cpus=2)) == {
        "ray_actor_options": {"num_cpus": 2, "num_gpus": 0}
    }
    assert placement_options(generator(num_gpus=0.25)) == {
        "ray_actor_options": {"num_cpus": 1, "num_gpus": 0.25}
    }


@pytest.mark.parametrize("num_gpus", [1, 4])
@pytest.mark.parametrize(
    "engine_args",
    [
        {"tensor_parallel_size": 4},
        {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
    ],
)
def test_several_workers_have_a_bundle_each_and_the_first_holds_the_replica(
    num_gpus: int, engine_args: dict[str, int]
) -> None:
    settings = generator(
        num_gpus=num_gpus, num_cpus=3, engine_args=engine_args, placement_strategy="STRICT_PACK"
    )
    assert placement_options(settings) == {
        "ray_actor_options": {"num_cpus": 3, "num_gpus": 0},
        "placement_group_bundles": [{"CPU": 3, "GPU": 1}, {"GPU": 1}, {"GPU": 1}, {"GPU": 1}],
        "placement_group_strategy": "STRICT_PACK",
    }
    assert placed_engine_args(settings)["distributed_executor_backend"] == "ray"


@pytest.mark.parametrize(
    ("asked", "engine_args", "strategy"),
    [
        (None, {"tensor_parallel_size": 4}, "STRICT_PACK"),
        (None, {"pipeline_parallel_size": 4}, "PACK"),
        (None, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, "PACK"),
        ("PACK", {"tensor_parallel_size": 4}, "PACK"),
        ("SPREAD", {"pipeline_parallel_size": 2}, "SPREAD"),
    ],
)
def test_tensor_parallel_workers_share_a_node_unless_the_settings_say_otherwise(
    asked: str | None, engine_args: dict[str, int], strategy: str
) -> None:
    settings = generator(num_gpus=1, engine_args=engine_args, placement_strategy=asked)
    assert placement_options(settings)["placement_group_strategy"] == strategy


def test_a_bundle_names_no_resource_that_it_does_not_take() -> None:
    options = placement_options(
        generator(num_gpus=2, num_cpus=0, engine_args={"tensor_parallel_size": 2})
    )
    assert options["placement_group_bundles"] == [{"GPU": 1}, {"GPU": 1}]


def test_serve_takes_the_bundles() -> None:
    settings = generator(
        num_gpus=2, engine_args={"tensor_parallel_size": 2}, placement_strategy="SPREAD"
    )
    deployment: Any = serve.deployment(**actor_options(settings))
    config = deployment(type("Replica", (), {}))._replica_config
    assert config.placement_group_bundles == [{"CPU": 1, "GPU": 1}, {"GPU": 1}]
    assert config.placement_group_strategy == "SPREAD"
    assert config.ray_actor_options["num_gpus"] == 0


@pytest.mark.parametrize("num_gpus", [0.5, 3, 1.5])
def test_gpus_that_do_not_go_with_the_workers_are_refused(num_gpus: float) -> None:
    with pytest.raises(ValidationError, match=r"num_gpus: .* set it to 1 .* or 2"):
        generator(num_gpus=num_gpus, engine_args={"tensor_parallel_size": 2})


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ({"model": "/x"}, "use source"),
        ({"served_model_name": "x"}, "use served_names"),
        ({"enable_lora": True}, "use adapters"),
        ({"trust_remote_code": True}, "use trust_remote_code of the model"),
        ({"data_parallel_size": 2}, "set replicas to it"),
        ({"data_parallel_size": "2"}, "set replicas to it"),
    ],
)
def test_an_engine_argument_that_is_not_taken_says_what_to_do_instead(
    argument: dict[str, object], instead: str
) -> None:
    with pytest.raises(ValidationError, match=rf"engine_args\.{min(argument)}: .*{instead}"):
        generator(engine_args=argument)


def test_an_engine_without_copies_of_itself_is_taken() -> None:
    assert generator(engine_args={"data_parallel_size": 1}).workers == 1


def test_workers_on_cpus_are_processes_of_the_replica() -> None:
    settings = generator(num_cpus=4, engine_args={"tensor_parallel_size": 2})
    assert placement_options(settings) == {"ray_actor_options": {"num_cpus": 4, "num_gpus": 0}}
    assert "distributed_executor_backend" not in placed_engine_args(settings)


def test_engine_arguments_follow_from_where_it_runs_and_the_settings_win() -> None:
    assert placed_engine_args(generator(cpu_kv_cache_gib=0.5)) == {
        "renderer_num_workers": 1,
        "enforce_eager": True,
        "kv_cache_memory_bytes": 2**29,
    }
    assert placed_engine_args(generator(num_gpus=0.25))["gpu_memory_utilization"] == 0.225
    assert "gpu_memory_utilization" not in placed_engine_args(generator(num_gpus=1))
    own = placed_engine_args(
        generator(num_gpus=0.5, engine_args={"gpu_memory_utilization": 0.3, "max_num_seqs": 8})
    )
    assert own["gpu_memory_utilization"] == 0.3
    assert own["max_num_seqs"] == 8


@pytest.mark.parametrize(("num_cpus", "threads"), [(0, 1), (0.5, 1), (3, 1), (4, 2), (64, 4)])
def test_some_of_the_cpus_render_prompts(num_cpus: float, threads: int) -> None:
    assert placed_engine_args(generator(num_cpus=num_cpus))["renderer_num_workers"] == threads
    own = generator(num_cpus=num_cpus, engine_args={"renderer_num_workers": 7})
    assert placed_engine_args(own)["renderer_num_workers"] == 7
