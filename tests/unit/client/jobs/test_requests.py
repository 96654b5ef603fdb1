"""Names of requests on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.jobs import Request


@given(
    first=st.integers(0, 10**12),
    items=st.integers(1, 5000),
    attempt=st.integers(1, 99),
    job=st.text(min_size=1, max_size=30),
)
def test_a_name_tells_the_request(first: int, items: int, attempt: int, job: str) -> None:
    request = Request(first, first + items, attempt)
    assert Request.parse(request.custom_id(job), job) == request


def test_the_first_attempt_has_the_short_name() -> None:
    assert Request(64, 128).custom_id("docs-1") == "docs-1/64-128"
    assert Request(64, 65, 2).custom_id("docs-1") == "docs-1/64-65/2"


@pytest.mark.parametrize(
    "custom_id",
    [
        "",
        "docs",
        "docs/",
        "docs/1",
        "docs/1-",
        "docs/-1",
        "docs/2-1",
        "docs/1-1",
        "docs/1-2/",
        "docs/1-2/0",
        "docs/1-2/x",
        "docs/1-2/1/1",
        "docs/+1-2",
        "docs/1-\u0662",
        "docs/1-9999999999999999999999",
        "docs2/1-2",
        "xdocs/1-2",
    ],
)
def test_a_name_of_somebody_else_is_none(custom_id: str) -> None:
    assert Request.parse(custom_id, "docs") is None
