import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import serve


@pytest.fixture(scope="package")
def local_serve() -> Iterator[None]:
    """One local Ray Serve for the tests of this folder; an application of its own for each test."""
    # Ray's workers import the small models from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    ray.init(
        address="local",
        namespace=f"tests-{uuid.uuid4().hex[:8]}",
        num_cpus=4,
        # Ray counts GPUs, and looks at none.
        num_gpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
    os.environ.pop("PYTHONPATH", None)
