"""The image and the compose file, as far as they can be proven without a Docker engine."""

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from headrace.brokers.docker import IMAGE, container_environment
from headrace.cli import main
from headrace.service.stop_times import service_stop_timeout_s
from headrace.settings.file import load_settings

ROOT = Path(__file__).parents[4]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OUR_SERVICES = ("topics", "models", "headrace")


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} (.+)$", DOCKERFILE, re.MULTILINE)


def exec_form(text: str) -> list[str]:
    found: list[str] = yaml.safe_load(text)
    return found


def argument(name: str) -> str:
    [value] = [line.partition("=")[2] for line in instructions("ARG") if line.startswith(name)]
    return value.strip('"')


def commands_of_the_image() -> list[list[str]]:
    [default] = [exec_form(line) for line in instructions("CMD")]
    [health] = [exec_form(line.partition("CMD ")[2]) for line in instructions("HEALTHCHECK")]
    composed = [COMPOSE["services"][name].get("command", default) for name in OUR_SERVICES]
    return [default, health[1:], *composed]


@pytest.mark.parametrize("command", commands_of_the_image(), ids=" ".join)
def test_every_command_of_the_image_is_one_of_ours(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])

    assert not caught.value.code
    assert "--config" in capsys.readouterr().out


def test_the_image_runs_the_command_as_a_child_of_tini() -> None:
    assert [exec_form(line) for line in instructions("ENTRYPOINT")] == [["tini", "--", "headrace"]]
    assert "tini" in DOCKERFILE.partition("apt-get install")[2].partition("rm -rf")[0]


def test_each_target_ends_without_root() -> None:
    stages = re.split(r"^FROM .+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    bodies = dict(zip(stages[1::2], stages[2::2], strict=True))

    for target in ("cpu", "gpu"):
        assert re.findall(r"^USER (.+)$", bodies[target], re.MULTILINE) == ["1000:1000"]
    # What `docker build .` makes.
    assert stages[-2] == "cpu"


def test_the_base_image_is_pinned_and_old_enough_for_us() -> None:
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", argument("PYTHON_IMAGE"))
    assert all("latest" not in service.get("image", "") for service in COMPOSE["services"].values())


def test_torch_comes_from_where_make_gets_it() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert f"TORCH_CPU_INDEX := {argument('TORCH_CPU_INDEX')}\n" in makefile


def test_both_images_have_the_same_ray() -> None:
    def pins(path: str) -> list[str]:
        lines = (ROOT / "requirements" / path).read_text().splitlines()
        return [line for line in lines if re.match(r"ray\b(?!-)", line)]

    # GPU workers join a head of the CPU image, and Ray refuses a node of another version.
    [locked] = pins("cpu.lock")
    assert locked.startswith("ray==")
    assert pins("constraints.txt") == [locked]


def test_what_is_copied_exists_and_is_let_through() -> None:
    sources = {
        word
        for line in instructions("COPY")
        if not line.startswith("--from")
        for word in line.split()[:-1]
    }
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }

    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} == let_through


def test_the_image_has_all_that_runs_and_nothing_for_tests() -> None:
    locked = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "requirements" / "cpu.lock").read_text().splitlines()
        if "==" in line
    }
    left_out = {canonicalize_name(name) for name in argument("NOT_IN_IMAGE").split()}
    needed = needed_by("headrace", frozenset({"demo", "cpu", "s3", "gs"}))

    assert left_out <= locked
    assert not left_out & needed
    assert locked - left_out <= needed, "add these to NOT_IN_IMAGE in the Dockerfile"


def test_the_names_left_out_are_written_as_in_the_lock() -> None:
    lock = (ROOT / "requirements" / "cpu.lock").read_text()

    for name in argument("NOT_IN_IMAGE").split():
        assert re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE), name


def test_compose_tags_what_the_project_is() -> None:
    for name in OUR_SERVICES:
        assert COMPOSE["services"][name]["image"] == f"headrace:{version('headrace')}"


def test_compose_settings_are_legal_and_reach_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in COMPOSE["services"]["headrace"]["environment"].items():
        monkeypatch.setenv(variable, value)

    settings = load_settings(ROOT / "headrace.yaml")

    assert settings.kafka.broker == "external"
    broker = COMPOSE["services"]["kafka"]["environment"]
    assert f"PLAINTEXT://{settings.kafka.bootstrap}" in broker["KAFKA_ADVERTISED_LISTENERS"]
    assert all(route.topics.replication_factor == 1 for route in settings.routes.values())


def test_compose_gives_a_drain_its_time() -> None:
    grace_s = int(COMPOSE["services"]["headrace"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > service_stop_timeout_s(load_settings(ROOT / "headrace.yaml"))


def test_compose_runs_the_broker_that_headrace_up_would() -> None:
    kafka = COMPOSE["services"]["kafka"]
    ours = container_environment(9092)
    differing = {
        "KAFKA_LISTENERS",
        "KAFKA_ADVERTISED_LISTENERS",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
    }

    assert kafka["image"] == IMAGE
    for name in set(ours) - differing:
        assert kafka["environment"][name] == ours[name]
    mounted = [volume.partition(":")[2] for volume in kafka["volumes"]]
    assert ours["KAFKA_LOG_DIRS"] in mounted


def test_nothing_of_compose_is_open_to_the_network_or_root() -> None:
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for name in OUR_SERVICES:
        assert COMPOSE["services"][name]["user"] == "1000:1000"
        assert COMPOSE["services"][name]["read_only"] is True


def test_what_runs_can_write_where_ray_must() -> None:
    service = COMPOSE["services"]["headrace"]
    [home] = instructions("WORKDIR")[-1:]
    writable = {each.partition(":")[0] for each in service["tmpfs"]}
    writable |= {each.split(":")[1] for each in service["volumes"] if not each.endswith(":ro")}

    # Ray keeps the token of a local cluster in the home.
    assert {"/tmp", f"{home}/.ray", f"{home}/.cache"} <= writable


def test_the_pods_of_the_image_find_what_they_run() -> None:
    assert import_module("headrace.kubernetes.drain").main
    assert import_module("headrace.kubernetes.app").application


def needed_by(name: str, extras: frozenset[str]) -> set[str]:
    """Return the distributions that one needs, with all that these need, by what is installed."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        try:
            requirements = [Requirement(text) for text in requires(current[0]) or []]
        except PackageNotFoundError:
            continue
        waiting += [
            (canonicalize_name(each.name), frozenset(each.extras))
            for each in requirements
            if each.marker is None
            or any(each.marker.evaluate({"extra": extra}) for extra in {"", *current[1]})
        ]
    return {found for found, _ in seen}
