from collections import Counter

from tests.chaos.__main__ import legs, parse
from tests.chaos.faults.schedule import Kind


def divide(*argv: str) -> dict[tuple[str, str], int]:
    divided = legs(parse(list(argv)), seed=1)
    return {(leg.stage, leg.delivery): len(leg.faults) for leg in divided}


def test_the_faults_are_divided_over_stages_and_modes() -> None:
    counts = divide("--faults", "300")
    assert sum(counts.values()) == 300
    assert len(counts) == 6
    by_stage = Counter[str]()
    for (stage, _), count in counts.items():
        by_stage[stage] += count
    assert by_stage == {"one-node": 252, "three-nodes": 30, "serve": 18}


def test_one_stage_takes_all() -> None:
    assert sum(divide("--faults", "41", "--stage", "serve").values()) == 41
    assert divide("--faults", "7", "--stage", "one-node", "--delivery", "exactly_once") == {
        ("one-node", "exactly_once"): 7
    }


def test_kinds_can_be_chosen() -> None:
    arguments = ["--faults", "10", "--stage", "one-node", "--kind", "consumer_kill"]
    (first, _) = legs(parse(arguments), seed=1)
    assert {fault.kind for fault in first.faults} == {Kind.CONSUMER_KILL}
