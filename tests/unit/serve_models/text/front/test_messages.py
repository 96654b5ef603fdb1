"""Messages: texts and rows arrive as they were sent."""

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_models.chunks.failures import Refusal
from serve_models.text.front.frames import Field
from serve_models.text.front.messages import (
    Do,
    Order,
    decode_bodies,
    decode_lines,
    decode_prepared,
    decode_rows,
    encode_bodies,
    encode_lines,
    encode_prepared,
    encode_rows,
)
from serve_models.text.models.tokenizing import TokenizedText

IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6)


def text_of(ids: list[int], has_types: bool, prompt_tokens: int, truncated: bool) -> TokenizedText:
    return TokenizedText(
        tokens=len(ids),
        truncated=truncated,
        ids=array("i", ids),
        type_ids=array("b", [n % 2 for n in range(len(ids))]) if has_types else (),
        prompt_tokens=prompt_tokens,
    )


TEXTS = st.lists(
    st.builds(text_of, IDS, st.booleans(), st.integers(0, 3), st.booleans()), max_size=4
)
REFUSALS = st.builds(Refusal, st.integers(400, 599), st.binary(max_size=20))


def on_the_wire(fields: list[Field]) -> list[memoryview]:
    return [memoryview(bytes(field)) for field in fields]


def seen(text: TokenizedText) -> tuple[int, list[int], list[int], int, bool]:
    types = list(text.type_ids) if len(text.type_ids) else [0] * text.tokens
    return text.tokens, list(text.ids), types, text.prompt_tokens, text.truncated


@given(st.lists(TEXTS | REFUSALS, max_size=6))
def test_prepared_texts_and_refusals_arrive_in_order(
    prepared: list[list[TokenizedText] | Refusal],
) -> None:
    received = list(decode_prepared(on_the_wire(encode_prepared(prepared))))
    assert len(received) == len(prepared)
    for one, other in zip(received, prepared, strict=True):
        if isinstance(other, Refusal):
            assert one == other
        else:
            assert not isinstance(one, Refusal)
            assert [seen(text) for text in one] == [seen(text) for text in other]


@given(st.lists(st.integers(0, 2**40), max_size=5), st.integers(1, 4), st.lists(st.integers(0, 9)))
def test_rows_arrive_with_their_numbers(numbers: list[int], width: int, dropped: list[int]) -> None:
    rows = [np.arange(width, dtype=np.float32) + n for n in range(len(numbers))]
    order = Order(Do.RESPOND, dropped)
    fields = on_the_wire(encode_rows(order, numbers, rows))
    assert Order.decode(fields[0]) == order
    received_numbers, received = decode_rows(fields)
    assert received_numbers == numbers
    assert received.tolist() == [row.tolist() for row in rows]


@given(st.lists(st.binary(max_size=20)), st.integers(0, 10))
def test_lines_arrive_with_their_order(lines: list[bytes], most_bytes: int) -> None:
    order = Order(Do.PREPARE, [], most_bytes)
    fields = on_the_wire(encode_lines(order, lines))
    assert Order.decode(fields[0]) == order
    assert decode_lines(fields) == lines


@given(st.lists(st.binary(max_size=20) | REFUSALS, max_size=6))
def test_bodies_and_refusals_arrive_in_order(bodies: list[bytes | Refusal]) -> None:
    assert decode_bodies(on_the_wire(encode_bodies(bodies))) == bodies
