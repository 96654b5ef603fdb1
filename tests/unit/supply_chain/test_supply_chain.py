"""The images' bills of materials are those of the locks; an audit that saw nothing says so."""

import json
from typing import Any

import pytest

from tests.supply_chain.audit import FOUND, NOT_LOOKED_UP, verdict
from tests.supply_chain.image_lock import ROOT, image_requirements


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_bill_of_materials_is_the_lock(variant: str) -> None:
    file = ROOT / "requirements" / f"{variant}.cdx.json"
    bill = json.loads(file.read_bytes())

    found = sorted(f"{each['name']}=={each['version']}" for each in bill["components"])
    assert bill["bomFormat"] == "CycloneDX"
    assert found == image_requirements(variant), "run: make sbom"


def test_nothing_for_tests_alone_is_in_an_image() -> None:
    names = {each.partition("==")[0] for each in image_requirements("cpu")}

    assert {"aiokafka", "ray", "torch"} <= names
    assert not names & {"pytest", "mypy", "hypothesis", "ruff"}


def package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", **more}


def test_an_audit_that_looked_nothing_up_is_none() -> None:
    status, [line] = verdict({"dependencies": [package("a", skip_reason="not found")]})

    assert status == NOT_LOOKED_UP
    assert line.startswith("not audited")


def test_advisories_and_their_fixes_are_told() -> None:
    advisory = {"id": "PYSEC-1", "fix_versions": ["2"]}
    status, lines = verdict(
        {
            "dependencies": [
                package("a", vulns=[advisory]),
                package("b", vulns=[]),
                package("c", skip_reason="no"),
            ]
        }
    )

    assert status == FOUND
    assert lines == ["a 1: PYSEC-1, fixed in 2", "not looked up: c"]
    assert verdict({"dependencies": [package("b", vulns=[])]})[0] == 0
    assert verdict({"dependencies": [package("b", vulns=[]), package("c", skip_reason="")]})[0] == 0
