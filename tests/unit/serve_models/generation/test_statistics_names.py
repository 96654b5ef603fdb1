"""The metrics of vLLM that the dashboard shows are those that the installed vLLM has."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from schemas.metrics import VLLM


def test_vllm_has_each_of_them_in_its_kind() -> None:
    vllm = find_spec("vllm")
    if vllm is None or vllm.origin is None:
        pytest.skip("vLLM is not installed")
    # Read and not imported: that takes seconds.
    source = (Path(vllm.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    found = re.findall(r'self\._(\w+)_cls\(\s*name="vllm:(\w+)"', source)
    kinds = {name: kind for kind, name in found}
    assert {each.name: kinds.get(each.name) for each in VLLM} == {
        each.name: each.kind for each in VLLM
    }
