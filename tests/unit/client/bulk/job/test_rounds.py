from typing import Any

from headrace_client.bulk.job.rounds import Ended, Round, next_round

RUNNING: dict[str, Any] = {"round": 1, "retries_failed": False, "from_row": 0, "core": {}}


def ended(failed_rows: int = 0) -> dict[str, Any]:
    return {**RUNNING, "ended": {"rows": 90, "failed_rows": failed_rows, "rows_read": 100}}


def test_a_new_job_begins_with_the_first_row() -> None:
    begun = next_round(None, retry_failed=False, has_grown=True)
    assert begun == Round(number=1)


def test_a_job_that_was_stopped_goes_on_with_its_round() -> None:
    kept = {**RUNNING, "round": 2, "retries_failed": True, "from_row": 100}
    found = next_round(kept, retry_failed=False, has_grown=False)
    assert found == Round(number=2, retries_failed=True, from_row=100, checkpoint=kept)
    assert isinstance(found, Round)
    assert found.note() == {"round": 2, "retries_failed": True, "from_row": 100}


def test_a_job_that_has_ended_has_nothing_left_to_do() -> None:
    found = next_round(ended(10), retry_failed=False, has_grown=False)
    assert found == Ended(rows=90, failed_rows=10)
    assert isinstance(next_round(ended(), retry_failed=True, has_grown=False), Ended)


def test_failed_rows_are_a_round_of_their_own_under_another_name() -> None:
    found = next_round(ended(10), retry_failed=True, has_grown=False)
    assert found == Round(number=2, retries_failed=True, from_row=100)
    assert isinstance(found, Round)
    assert found.wire_name("job-1") == "job-1.2"
    assert Round(number=1).wire_name("job-1") == "job-1"


def test_rows_that_came_later_are_a_round_with_the_failed_ones() -> None:
    assert next_round(ended(), retry_failed=False, has_grown=True) == Round(number=2, from_row=100)
    # One pass over OUT puts both at their places.
    found = next_round(ended(10), retry_failed=False, has_grown=True)
    assert found == Round(number=2, retries_failed=True, from_row=100)
