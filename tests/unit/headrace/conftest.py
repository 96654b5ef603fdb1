import os
import warnings

import pytest

with warnings.catch_warnings():
    # Ray Serve's own models use a spelling that pydantic deprecates; imported once, here.
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own overrides must not decide what a test sees."""
    for name in list(os.environ):
        if name.upper().startswith("HEADRACE_"):
            monkeypatch.delenv(name)
