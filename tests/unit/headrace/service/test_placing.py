"""Placements as Serve's options, and compared with nodes."""

import pytest

from headrace.errors import ServiceError
from headrace.service.applications import specs_of
from headrace.service.changes import Action, RunningApplication, plan
from headrace.service.placing import Node, one_node_for, unplaced_lines
from headrace.settings.file import parse_settings
from schemas.settings.file import Settings
from tests.unit.headrace.service.deployed import deployed

ROUTE = "model: m, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g"


def settings_for(model: str = "", route: str = "", models: str = "") -> Settings:
    text = f"""\
models:
  m: {{kind: custom, import_path: "a:B", urls: [/v1/x], replicas: 3{model}}}
{models}
routes:
  r: {{{ROUTE}{route}}}
"""
    return parse_settings(text.encode())


def test_labels_and_resources_reach_ray() -> None:
    found = deployed(
        settings_for(
            ", placement: {labels: {zone: 'in(a, b)'}, resources: {fast-disk: 0.5}}",
            ", placement: {labels: {tier: '!spot'}, max_replicas_per_node: 1}",
        )
    )

    model, consumer = found["model-m"], found["consumer-r"]
    assert model.ray_actor_options["label_selector"] == {"zone": "in(a,b)"}
    assert model.ray_actor_options["resources"] == {"fast-disk": 0.5}
    assert consumer.ray_actor_options["label_selector"] == {"tier": "!spot"}
    assert consumer.ray_actor_options["num_cpus"] == 0.5
    assert consumer._replica_config.max_replicas_per_node == 1


def test_a_replica_of_several_gpus_is_placed_as_a_whole() -> None:
    text = f"""\
models:
  m: {{kind: generator, source: "hub:a/b", num_gpus: 2, engine_args: {{tensor_parallel_size: 2}},
      placement: {{labels: {{zone: a}}, resources: {{fast-disk: 1}}}}}}
routes:
  r: {{{ROUTE}}}
"""
    config = deployed(parse_settings(text.encode()))["model-m"]._replica_config

    first, *others = config.placement_group_bundles
    assert first["fast-disk"] == 1
    assert all("fast-disk" not in each for each in others)
    assert config.placement_group_bundle_label_selector == [{"zone": "a"}] * (1 + len(others))
    assert "label_selector" not in config.ray_actor_options


def test_another_placement_replaces_the_replicas() -> None:
    before, after = settings_for(), settings_for(", placement: {labels: {zone: a}}")
    running = {
        spec.name: RunningApplication(
            built=spec.built, live=spec.live, options=spec.options, version=spec.version
        )
        for spec in specs_of(before)
    }

    changed = {each.title: each for each in plan(running, specs_of(after))}

    assert changed["model m"].action is Action.RESTART
    assert changed["model m"].reasons == ('placement.labels.zone: default -> "a"',)
    assert changed["route r"].action is Action.UNCHANGED


def test_a_placement_that_no_node_meets_is_told_about() -> None:
    nodes = [Node(), Node(labels={"zone": "a"}, resources={"fast-disk": 4.0})]
    settings = settings_for(", placement: {labels: {zone: b}, resources: {fast-disk: 1}}")

    [line] = unplaced_lines(settings, nodes)

    assert line.startswith("models.m.placement: none of the cluster's 2 nodes has zone=b, 1 fast-")
    assert (
        unplaced_lines(settings, [*nodes, Node(labels={"zone": "b"}, resources={"fast-disk": 1.0})])
        == []
    )
    assert unplaced_lines(settings_for(), nodes) == []


def test_a_ray_of_one_node_gets_what_all_placements_ask_for() -> None:
    settings = settings_for(
        ", placement: {labels: {zone: 'in(a, b)'}, resources: {fast-disk: 0.5}}",
        ", placement: {labels: {zone: b, tier: '!spot'}}",
    )

    assert one_node_for(settings) == Node(labels={"zone": "b"}, resources={"fast-disk": 2.0})


@pytest.mark.parametrize(
    "route", [", placement: {labels: {zone: b}}", ", placement: {labels: {zone: '!a'}}"]
)
def test_placements_that_one_node_cannot_meet_are_an_error(route: str) -> None:
    with pytest.raises(ServiceError, match=r"contradicts .* several nodes"):
        one_node_for(settings_for(", placement: {labels: {zone: a}}", route))


def test_one_node_cannot_hold_replicas_apart() -> None:
    apart = settings_for(", placement: {max_replicas_per_node: 1}")

    with pytest.raises(ServiceError, match=r"1 of up to 3 replicas may share a node"):
        one_node_for(apart)
