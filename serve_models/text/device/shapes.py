"""Few shapes of batches, so that a compiled model or a captured graph fits many of them. Pure."""

from bisect import bisect_left

_LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_STEPS_AN_OCTAVE = 4


def length_bucket(longest_tokens: int, most_tokens: int | None) -> int:
    """Return the length that a batch's rows are padded to.

    It is at most a half more, and above 512 at most an eighth; never over ``most_tokens``, which
    the model can read.
    """
    place = bisect_left(_LENGTHS, longest_tokens)
    padded = _LENGTHS[place] if place < len(_LENGTHS) else _step(longest_tokens)
    return padded if most_tokens is None else max(longest_tokens, min(padded, most_tokens))


def rows_bucket(rows: int) -> int:
    """Return the number of rows that a batch is filled up to: at most a quarter more."""
    return _step(rows)


def _step(number: int) -> int:
    """Round up to one of four evenly spaced numbers between powers of two."""
    if number <= _STEPS_AN_OCTAVE:
        return number
    step = 1 << max(0, (number - 1).bit_length() - _STEPS_AN_OCTAVE.bit_length())
    return -(-number // step) * step
