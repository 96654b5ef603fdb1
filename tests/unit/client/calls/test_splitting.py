"""Long lists are cut into requests of bounded number and size."""

from hypothesis import given
from hypothesis import strategies as st

from headrace_client.calls import splitting
from headrace_client.calls.splitting import cut


@given(st.lists(st.text(max_size=5)), st.integers(1, 7))
def test_every_input_is_in_one_request(inputs: list[str], most: int) -> None:
    ranges = list(cut(inputs, most))

    assert [each for first, end in ranges for each in inputs[first:end]] == inputs
    assert all(0 < end - first <= most for first, end in ranges)


def test_long_texts_are_parted_by_their_size() -> None:
    half = "x" * (splitting.MAX_REQUEST_CHARACTERS // 2)

    assert list(cut([half, half, "y"], 64)) == [(0, 2), (2, 3)]
    assert list(cut(["z" * splitting.MAX_REQUEST_CHARACTERS * 2, "y"], 64)) == [(0, 1), (1, 2)]


def test_documents_and_token_ids_have_a_size() -> None:
    document = {"text": "x" * splitting.MAX_REQUEST_CHARACTERS}

    assert list(cut([document, document], 64)) == [(0, 1), (1, 2)]
    assert list(cut([[1] * 20_000, [2] * 20_000], 64)) == [(0, 1), (1, 2)]
