"""Which nodes a placement accepts, and which placements the settings refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ray._private.label_utils import validate_label_selector

from schemas.settings.placement import PlacementSettings

words = st.sampled_from(["a", "b", "H100", "us-east-1"])
selectors = st.one_of(
    words,
    words.map("!{}".format),
    st.lists(words, min_size=1, max_size=3).map(lambda found: f"in({', '.join(found)})"),
    st.lists(words, min_size=1, max_size=3).map(lambda found: f"!in({','.join(found)})"),
)


@given(st.dictionaries(st.sampled_from(["zone", "example.com/tier", "ray.io/region"]), selectors))
def test_what_the_settings_take_ray_takes(labels: dict[str, str]) -> None:
    assert validate_label_selector(PlacementSettings(labels=labels).labels) is None


def test_a_space_in_a_list_is_no_part_of_a_value() -> None:
    """Ray takes ``in(a, b)``, and looks for a node whose label is `` b``."""
    placement = PlacementSettings(labels={"zone": "in(a, b)", "tier": "!in(c, d)"})

    assert placement.labels == {"zone": "in(a,b)", "tier": "!in(c,d)"}


@pytest.mark.parametrize(
    ("selector", "met_by"),
    [
        ("a", {"a"}),
        ("!a", {"b", None}),
        ("in(a, b)", {"a", "b"}),
        ("in(b)", {"b"}),
        ("!in(a,b)", {None}),
    ],
)
def test_selectors_accept_as_ray_s_do(selector: str, met_by: set[str | None]) -> None:
    placement = PlacementSettings(labels={"zone": selector})

    nodes: list[tuple[str | None, dict[str, str]]]
    nodes = [("a", {"zone": "a"}), ("b", {"zone": "b"}), (None, {})]
    assert {name for name, labels in nodes if placement.is_met_by(labels, {})} == met_by


@given(st.dictionaries(st.sampled_from(["zone", "tier"]), selectors))
def test_the_first_of_the_wanted_values_meet_the_selectors(labels: dict[str, str]) -> None:
    placement = PlacementSettings(labels=labels)

    chosen = {key: values[0] for key, values in placement.wanted_values.items()}
    assert placement.is_met_by(chosen, {})


def test_a_node_needs_as_much_of_a_resource_as_one_replica_reserves() -> None:
    placement = PlacementSettings(resources={"fast-disk": 2})

    assert placement.is_met_by({}, {"fast-disk": 2.0})
    assert not placement.is_met_by({}, {"fast-disk": 1.0})
    assert not placement.is_met_by({}, {})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"labels": {"zone": "in()"}}, "zone: 'in()' is no label selector"),
        ({"labels": {"zone": "a b"}}, "no label selector"),
        ({"labels": {"-zone": "a"}}, "no key of a label"),
        ({"labels": {"ray.io/node-id": "abc"}}, "names one node"),
        ({"resources": {"GPU": 1}}, "GPU is set by num_gpus"),
        ({"resources": {"CPU": 1}}, "num_cpus"),
        ({"resources": {"fast disk": 1}}, "no name of a resource"),
        ({"resources": {"fast-disk": 0}}, "a part of 1, or a whole number"),
        ({"resources": {"fast-disk": 1.5}}, "a part of 1, or a whole number"),
        ({"max_replicas_per_node": 0}, "greater than or equal to 1"),
    ],
)
def test_what_ray_could_not_place_is_refused_with_the_fix(
    values: dict[str, object], says: str
) -> None:
    with pytest.raises(ValidationError, match=says.replace("(", r"\(").replace(")", r"\)")):
        PlacementSettings.model_validate(values)
