"""Live settings are told apart, and put back."""

import os
import subprocess
import sys

import pytest

from schemas.settings.file import FlowSettings, LimitSettings, RouteSettings
from schemas.settings.live import (
    LIVE_MODEL_KEYS,
    LIVE_ROUTE_KEYS,
    SERVE_MODEL_KEYS,
    model_with_live,
    plain,
    route_with_live,
    split,
)
from schemas.settings.models import (
    ClassifierSettings,
    CustomModelSettings,
    EmbedderSettings,
    GeneratorSettings,
    RerankerSettings,
)
from schemas.settings.pipelines import PipelineSettings
from schemas.settings.section import Section

ROUTE = RouteSettings(
    model="m",
    requests_topic="a",
    results_topic="b",
    dead_letters_topic="c",
    group="g",
    flow=FlowSettings(max_records=7, fetch_max_bytes=4096),
    limits=LimitSettings(max_request_bytes=99),
)


def test_live_settings_are_split_off_and_put_back() -> None:
    rest, live = split(plain(ROUTE), LIVE_ROUTE_KEYS)

    assert live == {"flow": {"max_records": 7}, "limits": {"max_request_bytes": 99}}
    assert rest["flow"] == {"fetch_max_bytes": 4096}
    assert route_with_live(RouteSettings.model_validate(rest), live) == ROUTE


def test_a_key_that_is_left_out_is_its_default_again() -> None:
    changed = route_with_live(ROUTE, {})

    assert changed.limits == LimitSettings()
    assert changed.flow == FlowSettings(fetch_max_bytes=4096)


def test_a_model_takes_over_the_live_keys_of_its_kind() -> None:
    embedder = EmbedderSettings(
        kind="embedder", source="path:/x", max_wait_ms=9.0, default_prompt_name="query"
    )

    changed = model_with_live(embedder, {"prompts": {"query": "find: "}})

    assert changed.prompts == {"query": "find: "}
    assert changed.max_wait_ms == 500.0
    assert changed.default_prompt_name is None
    assert changed.source == "path:/x"


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("embedder", EmbedderSettings),
        ("classifier", ClassifierSettings),
        ("reranker", RerankerSettings),
        ("generator", GeneratorSettings),
        ("pipeline", PipelineSettings),
        ("custom", CustomModelSettings),
    ],
)
def test_every_key_is_one_of_the_settings_that_may_be_left_out(
    kind: str, section: type[Section]
) -> None:
    for key in (*LIVE_MODEL_KEYS[kind], *SERVE_MODEL_KEYS):
        assert not section.model_fields[key].is_required()
    assert set(LIVE_MODEL_KEYS) == {
        "embedder",
        "classifier",
        "reranker",
        "generator",
        "pipeline",
        "custom",
    }


def test_a_set_has_the_same_order_in_every_process() -> None:
    code = (
        "from schemas.settings.file import RetrySettings\n"
        "from schemas.settings.live import plain\n"
        "print(plain(RetrySettings(on=frozenset({'model_error', 'replica_lost'}))))\n"
    )

    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in (1, 2, 3)
    }

    assert printed == {"{'on': ['model_error', 'replica_lost']}\n"}
