"""The GPUs of a replica; Ray is not asked here."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from serve_models.replicas import gpus
from serve_models.replicas.gpus import hide_gpus, turn_to_load


def test_a_replica_without_a_gpu_sees_none() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "OTHER": "x"}
    hide_gpus(environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "OTHER": "x"}


async def most_at_a_time(*replicas: tuple[float, list[str]]) -> int:
    loading = most = 0

    async def load(num_gpus: float, ids: list[str]) -> None:
        nonlocal loading, most
        async with turn_to_load(num_gpus, ids):
            loading += 1
            most = max(most, loading)
            for _ in range(3):
                await asyncio.sleep(0)
            loading -= 1

    await asyncio.gather(*(load(*each) for each in replicas))
    return most


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_LOOK_AGAIN_AFTER_S", 0.0)


@pytest.mark.parametrize(
    ("replicas", "most"),
    [
        ([(0.5, ["0"]), (0.5, ["0"]), (0.25, ["0"])], 1),
        ([(0.5, ["0"]), (0.5, ["1"])], 2),
        ([(1.0, ["0"]), (1.0, ["0"])], 2),
        ([(0.0, []), (0.0, [])], 2),
    ],
)
async def test_replicas_that_share_a_gpu_load_one_after_the_other(
    replicas: list[tuple[float, list[str]]], most: int
) -> None:
    async with asyncio.timeout(120):
        assert await most_at_a_time(*replicas) == most


async def test_a_load_that_fails_gives_way_to_the_next() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        async with turn_to_load(0.5, ["0"]):
            raise RuntimeError("out of memory")
    async with asyncio.timeout(120), turn_to_load(0.5, ["0"]):
        pass
