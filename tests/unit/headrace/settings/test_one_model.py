"""Settings of a service with one model."""

from pathlib import Path
from typing import Any

import pytest

from headrace.errors import UserError
from headrace.service.local_job import local_settings
from headrace.settings.file import load_settings
from headrace.settings.one_model import (
    KINDS,
    ROUTE,
    Resources,
    keys_of,
    settings_of_model,
    settings_of_source,
)
from headrace.settings.problems import SettingsError

DEMO = Path(__file__).parents[4] / "headrace" / "data" / "demo.yaml"
RESOURCES = Resources(cpus=2, gpus=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gpus", [0, 0.5, 1])
def test_a_source_is_enough(kind: str, gpus: float) -> None:
    settings = settings_of_source(
        "hub:Org/Some_Model@main",
        kind,
        Resources(3, gpus),
        served_names=["x", "some-model"],
        more={},
    )

    [name] = settings.models
    model: Any = settings.models[name]
    assert (name, model.kind, model.num_cpus, model.num_gpus) == ("some-model", kind, 3, gpus)
    assert model.served_names == ("x",)
    local = local_settings(settings, ROUTE)
    assert local.kafka.broker == "embedded"
    assert local.routes[ROUTE].model == "some-model"


def test_keys_go_over_those_that_are_set_here() -> None:
    more = keys_of(["engine_args.max_model_len=4096", "engine_args.dtype=float32", "threads=3"])

    settings = settings_of_source("wheel:x", "generator", RESOURCES, served_names=[], more=more)

    model: Any = settings.models["x"]
    assert model.engine_args == {"max_num_seqs": 32, "max_model_len": 4096, "dtype": "float32"}
    assert model.threads == 3


def test_a_wrong_key_is_named_by_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"models\.x\.dtype"):
        settings_of_source(
            "wheel:x", "embedder", RESOURCES, served_names=[], more=keys_of(["dtype=f8"])
        )


@pytest.mark.parametrize("text", ["dtype", "=x", "A=1", "a..b=1", "a=[1"])
def test_what_is_no_key_and_value_says_so(text: str) -> None:
    with pytest.raises(UserError, match="--set: "):
        keys_of([text])


def test_a_model_of_the_settings_takes_those_behind_it_along() -> None:
    settings = load_settings(DEMO)

    piped = settings_of_model(settings, "guarded-chat")
    alone = settings_of_model(settings, "smollm2")

    assert set(piped.models) == {"guarded-chat", "safety", "smollm2"}
    assert piped.routes[ROUTE] == settings.routes["chat"]
    assert set(alone.models) == {"smollm2"}
    assert alone.routes[ROUTE].model == "smollm2"
