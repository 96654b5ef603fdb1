"""How many worker pods of which size."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.kubernetes.names import resource_name
from headrace.kubernetes.worker_groups import _pods, worker_groups
from schemas.settings.file import Settings
from tests.routes import route_to


def settings(models: dict[str, Any], consumers: int = 1) -> Settings:
    return Settings.model_validate(
        {
            "models": models,
            "routes": {name: route_to(name, consumers=consumers) for name in models},
        }
    )


def generator(**values: Any) -> dict[str, Any]:
    return {"kind": "generator", "source": "hub:a/b", **values}


def test_cpu_replicas_fill_pods() -> None:
    model = {"kind": "embedder", "source": "wheel:x", "num_cpus": 4, "replicas": 3}

    [group] = worker_groups(settings({"e": model}))

    assert (group.cpus, group.gpus, group.pods) == (4, 0, 4)
    assert group.most_pods > group.pods


def test_the_cluster_may_grow_to_what_autoscaling_may_want() -> None:
    scaling = {"min_replicas": 0, "max_replicas": 10}
    model = {"kind": "embedder", "source": "wheel:x", "num_cpus": 4, "autoscaling": scaling}

    [group] = worker_groups(settings({"e": model}))

    consumers = 1
    # None of the model's at first: Serve starts with the least where `replicas` is not set.
    assert (group.pods, group.most_pods) == (consumers, 10 + consumers)


def test_pods_carry_as_many_replicas_as_serve_starts() -> None:
    text = {"kind": "embedder", "source": "wheel:x", "num_cpus": 4}
    least = {**text, "autoscaling": {"min_replicas": 5, "max_replicas": 10}}
    most = {**text, "replicas": 9, "autoscaling": {"min_replicas": 0, "max_replicas": 2}}

    consumers = 1
    [raised] = worker_groups(settings({"e": least}))
    [lowered] = worker_groups(settings({"e": most}))
    [chosen] = worker_groups(settings({"e": {**least, "replicas": 7}}))

    assert chosen.pods == 7 + consumers
    assert raised.pods == 5 + consumers
    assert lowered.pods == 2 + consumers


def test_gpus_too_may_grow_to_what_autoscaling_may_want() -> None:
    scaling = {"min_replicas": 0, "max_replicas": 6}
    model = generator(num_gpus=0.5, replicas=1, autoscaling=scaling)

    _cpu, gpu = worker_groups(settings({"g": model}))

    assert (gpu.pods, gpu.most_pods) == (1, 3)


def test_pods_stay_for_as_many_replicas_as_there_are_at_least() -> None:
    fixed = {"kind": "embedder", "source": "wheel:x", "num_cpus": 4, "replicas": 3}
    scaled = {**fixed, "autoscaling": {"min_replicas": 2, "max_replicas": 10}}

    consumers = 1
    [kept] = worker_groups(settings({"e": fixed}))
    [least] = worker_groups(settings({"e": scaled}))

    assert kept.least_pods == kept.pods == 3 + consumers
    assert (least.least_pods, least.pods) == (2 + consumers, 3 + consumers)


def test_no_gpu_stays_where_no_replica_has_to() -> None:
    def least_pods(least: int | None) -> int:
        scaling = None if least is None else {"min_replicas": least, "max_replicas": 6}
        _, gpu = worker_groups(
            settings({"g": generator(num_gpus=1, replicas=2, autoscaling=scaling)})
        )
        return gpu.least_pods

    assert (least_pods(None), least_pods(0), least_pods(1)) == (2, 0, 1)


def test_a_replica_larger_than_a_pod_gets_larger_pods() -> None:
    model = {"kind": "embedder", "source": "wheel:x", "num_cpus": 12}

    [group] = worker_groups(settings({"e": model}))

    assert group.cpus == 12


def test_fractions_of_a_gpu_share_it_and_find_their_cpus() -> None:
    model = generator(num_gpus=0.25, num_cpus=3, replicas=4)

    cpu, gpu = worker_groups(settings({"g": model}))

    assert (gpu.gpus, gpu.pods) == (1, 1)
    assert gpu.cpus == 12
    assert cpu.pods == 1


def test_a_gpu_comes_with_cpus_for_all_that_feeds_it() -> None:
    _, one = worker_groups(settings({"g": generator(num_gpus=1)}))
    _, four = worker_groups(
        settings({"g": generator(num_gpus=1, engine_args={"tensor_parallel_size": 4})})
    )

    assert (one.cpus, four.cpus) == (8, 32)


def test_a_pod_has_all_gpus_of_a_model_spread_over_several() -> None:
    model = generator(num_gpus=1, replicas=2, engine_args={"tensor_parallel_size": 4})

    _, gpu = worker_groups(settings({"g": model}))

    assert (gpu.gpus, gpu.pods) == (4, 2)


def test_models_that_nothing_calls_take_no_room() -> None:
    text = {"kind": "embedder", "source": "wheel:x"}
    both = settings({"e": text, "g": generator(num_gpus=1)})
    alone = both.model_copy(update={"routes": {"e": both.routes["e"]}})

    assert [group.name for group in worker_groups(alone)] == ["cpu"]


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0])),
        min_size=1,
        max_size=6,
    )
)
def test_pods_hold_everything_and_waste_less_than_half(items: list[tuple[int, float]]) -> None:
    total = sum(count * each for count, each in items)

    pods = _pods(items, 4)

    assert pods * 4 >= total - 1e-6
    # First fit leaves at most one pod less than half full.
    assert pods <= max(1.0, 2 * total / 4 + 1)


@given(st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True))
def test_a_topic_has_a_legal_name_of_its_own(topic: str) -> None:
    name = resource_name(topic)

    assert len(name) <= 253
    assert all(label and label[0] != "-" and label[-1] != "-" for label in name.split("."))
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_topics_that_differ_in_case_only_have_different_names() -> None:
    assert len({resource_name(topic) for topic in ("Jobs", "jobs", "JOBS", "jobs_", "jobs.")}) == 5
