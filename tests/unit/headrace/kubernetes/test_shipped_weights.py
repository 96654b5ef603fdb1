"""Every source of weights in the shipped settings can be had where they run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.kubernetes.manifests import render_files
from headrace.kubernetes.source import read_source
from headrace.kubernetes.weights import hosted_models, unreachable_sources
from headrace.kubernetes.worker_groups import worker_groups
from headrace.settings.file import load_settings
from schemas.settings.file import Settings
from schemas.settings.models import weight_sources
from serve_models.weights.references import Source, parse_source

ROOT = Path(__file__).parents[4]
OVERLAYS = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir())
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ON_THE_NETWORK = {"hub", "s3", "gs", "oci"}


def names(lines: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {match[0].lower().replace("_", "-") for match in found if match}


def wheels_of_the_image() -> set[str]:
    """Return the distributions of the CPU image; the demo's extra is in both images."""
    lock = names((ROOT / "requirements" / "cpu.lock").read_text().splitlines())
    [left_out] = re.findall(r'^ARG NOT_IN_IMAGE="(.+)"$', DOCKERFILE, re.MULTILINE)
    return lock - names(left_out.split())


def wheels_of_an_install() -> set[str]:
    files = ("cpu.lock", "no-deps.txt")
    return set().union(
        *(names((ROOT / "requirements" / file).read_text().splitlines()) for file in files)
    )


def https_egress(network: Path) -> bool:
    """Return whether the policy of all of Ray's pods lets out HTTPS, wherever it goes."""
    [policy] = [
        each
        for each in yaml.safe_load_all(network.read_text())
        if each["metadata"]["name"] == "headrace-ray"
    ]
    return {"ports": [{"protocol": "TCP", "port": 443}]} in policy["spec"]["egress"]


def sources_of(settings: Settings, models: list[str]) -> Iterator[Source]:
    for model in models:
        for each in weight_sources(settings.models[model]):
            yield parse_source(each.source)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_what_they_may_host(overlay: str) -> None:
    folder = ROOT / "k8s" / "overlays" / overlay
    source = read_source(folder / "headrace.yaml")
    files = render_files(source)
    [service] = list(yaml.safe_load_all(files["rayservice.yaml"]))
    pods = {
        group["groupName"]: group["template"]["spec"]
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    }
    reaches_out = https_egress(folder / "rendered" / "network.yaml")
    hosted: set[str] = set()

    assert unreachable_sources(source.settings) == []
    for group in worker_groups(source.settings):
        models = hosted_models(source.settings, group)
        hosted.update(models)
        for each in sources_of(source.settings, models):
            [init] = pods[group.name]["initContainers"]
            assert init["command"][1:3] == ["models", "pull"]
            in_image = each.kind == "wheel" and each.name in wheels_of_the_image()
            assert in_image or (each.kind in {*ON_THE_NETWORK, "wheel"} and reaches_out), (
                f"{overlay}: {each.text} in the {group.name} pods"
            )
    called = {
        name
        for route in source.settings.routes.values()
        for name in source.settings.models_behind(route.model)
    }
    assert hosted == called


def test_compose_pulls_before_the_service_starts_into_the_volume_that_it_reads() -> None:
    services = COMPOSE["services"]
    models, headrace = services["models"], services["headrace"]

    assert models["command"] == ["models", "pull", "--missing"]
    assert headrace["depends_on"]["models"] == {"condition": "service_completed_successfully"}
    assert models["image"] == headrace["image"]
    # The settings, and the cache.
    assert set(models["volumes"]) == set(headrace["volumes"])
    for each in sources_of(
        (settings := load_settings(ROOT / "headrace.yaml")), list(settings.models)
    ):
        assert each.kind in {*ON_THE_NETWORK, "wheel"}


@pytest.mark.parametrize("file", ["demo.yaml", "local.yaml"])
def test_what_runs_after_an_install_has_what_was_installed(file: str) -> None:
    settings = load_settings(ROOT / "headrace" / "data" / file)
    for each in sources_of(settings, list(settings.models)):
        # The demo trains this one itself.
        is_trained = each.name.startswith("/the/demo/trains")
        assert is_trained or (each.kind == "wheel" and each.name in wheels_of_an_install())
