"""Which worker groups placements make, and what none of them can run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import UserError
from headrace.kubernetes.manifests import render_files
from headrace.kubernetes.placement.hosting import can_host, unhosted
from headrace.kubernetes.source import RenderSource
from headrace.kubernetes.worker_groups import demands_of, worker_groups
from schemas.settings.file import Settings
from tests.routes import route_to


def settings(models: dict[str, Any], **route: Any) -> Settings:
    return Settings.model_validate(
        {"models": models, "routes": {name: route_to(name, **route) for name in models}}
    )


def embedder(**values: Any) -> dict[str, Any]:
    return {"kind": "embedder", "source": "wheel:x", **values}


def on(**labels: str) -> dict[str, Any]:
    return {"labels": labels}


def test_each_placement_has_a_group_of_its_own() -> None:
    zoned = embedder(placement=on(zone="in(a, b)"), num_gpus=1)
    both = settings({"plain": embedder(), "zoned": zoned, "same": zoned})

    cpu, gpu = worker_groups(both)

    assert (cpu.name, dict(cpu.labels)) == ("cpu", {})
    assert (gpu.name, dict(gpu.labels), gpu.pods) == ("gpu-zone-a", {"zone": "a"}, 2)
    assert unhosted(both) == []


def test_what_may_run_anywhere_but_there_needs_no_group() -> None:
    [group] = worker_groups(settings({"e": embedder(placement=on(zone="!a"))}))

    assert (group.name, group.labels) == ("cpu", {})


def test_a_placement_may_name_its_group() -> None:
    group = on(**{"ray.io/node-group": "large"})
    shared = settings({"g": embedder(num_gpus=1, placement=group)}, placement=group)

    [large] = worker_groups(shared)

    assert (large.name, large.gpus, large.labels) == ("large", 1, {})
    assert unhosted(shared) == []


def test_a_pod_has_the_resources_of_all_replicas_that_fit_into_it() -> None:
    disk = {"resources": {"fast-disk": 2}}
    model = embedder(placement=disk, num_cpus=2, replicas=5)

    placed = next(group for group in worker_groups(settings({"e": model})) if group.resources)

    assert (placed.name, placed.cpus, placed.resources) == ("cpu-fast-disk", 4, {"fast-disk": 4})
    assert placed.pods == 3


def test_replicas_that_stay_apart_get_pods_of_their_own() -> None:
    apart = {"max_replicas_per_node": 1}
    scaled = {"min_replicas": 2, "max_replicas": 7}
    model = embedder(placement=apart, num_cpus=0.1, replicas=3, autoscaling=scaled)

    [group] = worker_groups(settings({"e": model}))

    assert (group.least_pods, group.pods, group.most_pods) == (2, 3, 7)


def test_a_label_of_gpus_needs_gpus() -> None:
    accelerated = on(**{"ray.io/accelerator-type": "H100"})
    model = embedder(placement=accelerated)

    [line] = unhosted(settings({"e": model}))

    assert line.startswith("models.e.placement: no worker group can run its replicas")
    assert "set num_gpus" in line
    assert unhosted(settings({"e": {**model, "num_gpus": 1}})) == []


def test_a_group_has_each_label_once() -> None:
    def named(zone: str) -> dict[str, Any]:
        return on(**{"ray.io/node-group": "large", "zone": zone})

    torn = settings({"a": embedder(placement=named("x")), "b": embedder(placement=named("y"))})

    [line] = unhosted(torn)

    assert line.startswith("models.b.placement")
    assert "the group large the labels zone=x" in line
    with pytest.raises(UserError, match=r"models\.b\.placement"):
        render_files(RenderSource(settings=torn, text="", data={}))


selectors = st.sampled_from(["a", "b", "!a", "in(b, c)", "!in(a, b)"])
placements = st.fixed_dictionaries(
    {
        "labels": st.dictionaries(st.sampled_from(["zone", "tier"]), selectors, max_size=2),
        "resources": st.dictionaries(
            st.sampled_from(["disk", "licence"]), st.sampled_from([0.5, 1, 2]), max_size=2
        ),
    }
)


@given(st.lists(st.tuples(placements, st.sampled_from([0, 0.5, 2])), min_size=1, max_size=4))
def test_groups_without_names_run_everything(models: list[tuple[dict[str, Any], float]]) -> None:
    placed = settings(
        {
            f"m{number}": embedder(placement=placement, num_gpus=gpus)
            for number, (placement, gpus) in enumerate(models)
        }
    )

    groups = worker_groups(placed)

    assert unhosted(placed) == []
    assert len({group.name for group in groups}) == len(groups)
    # The group that is made for it, not some other.
    assert all(
        any(can_host(group, each) for group in groups if group.gpus >= each.gpus)
        for each in demands_of(placed)
    )
    assert all(group.least_pods <= group.pods <= group.most_pods for group in groups)
