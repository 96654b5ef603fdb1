"""Learns what a forward pass costs, from the batches that have run. Pure.

A batch takes about ``fixed + per_token * tokens`` seconds, padding included. The fixed part (kernel
launches, the Python between them) depends on the model and the device: on a CPU it is worth some
tens of tokens, on a large GPU tens of thousands of a small model's.

Least squares with exponential forgetting (Ljung, System Identification, 11.2), over errors relative
to what a batch costs. Batches of one size cannot tell the two parts apart, and with forgetting
alone noise would decide. So a prior that is never forgotten holds their ratio, as in ridge
regression; and now and then the engine times a forward pass of one short text.
"""

from math import isfinite

FIRST_FIXED_TOKENS = 32.0
"""Before batches have shown another."""
LEAST_FIXED_TOKENS = 16.0
"""Without a fixed cost a batch of one text, which has no padding, would be as good as any. Where
the rest grows faster than the tokens (caches, attention), the fit may say that there is none."""
MOST_FIXED_TOKENS = 65_536.0
_KEEP = 1 - 1 / 128
_PRIOR_BATCHES = 0.5
"""The weight of the prior."""
_CLIP = 3.0
"""A duration beyond this ratio to the expected one counts as at this ratio: a process that stood
still says nothing of the device. What lasts is learned all the same."""
_CLIPPED_AFTER_BATCHES = 8


class ForwardCost:
    """The fixed and the growing cost of a forward pass.

    Attributes:
        fixed_tokens: The fixed cost as a number of tokens, from 16 to 65,536.
    """

    def __init__(self, first_fixed_tokens: float = FIRST_FIXED_TOKENS) -> None:
        self.fixed_tokens = first_fixed_tokens
        self._prior_tokens = first_fixed_tokens
        self._fixed_s = self._per_token_s = 0.0
        self._batches = 0
        # Sums over batches, the recent ones weighted most: of 1; and over the square of the cost in
        # tokens, of 1, tokens, tokens squared, duration, and tokens times duration.
        self._count = 0.0
        self._one = self._x = self._xx = self._y = self._xy = 0.0

    def duration_s(self, tokens: int) -> float:
        """Return how long a batch of ``tokens``, with padding, takes; 0 if none has run."""
        return self._fixed_s + self._per_token_s * tokens

    def batch_finished(self, tokens: int, duration_s: float) -> None:
        """Learn from a batch of ``tokens`` tokens, with padding."""
        if tokens <= 0 or not isfinite(duration_s) or duration_s <= 0:
            return
        self._batches += 1
        expected_s = self.duration_s(tokens)
        if self._batches > _CLIPPED_AFTER_BATCHES and expected_s > 0:
            duration_s = min(max(duration_s, expected_s / _CLIP), expected_s * _CLIP)
        # Not by the duration: a device that slows down would be remembered as it was.
        weight = (self.fixed_tokens + tokens) ** -2
        self._count = self._count * _KEEP + 1
        self._one = self._one * _KEEP + weight
        self._x = self._x * _KEEP + weight * tokens
        self._xx = self._xx * _KEEP + weight * tokens**2
        self._y = self._y * _KEEP + weight * duration_s
        self._xy = self._xy * _KEEP + weight * tokens * duration_s
        self._solve()

    def _solve(self) -> None:
        # Of the prior, whose error is fixed - prior_tokens * per_token.
        weight = _PRIOR_BATCHES * self._one / self._count
        one = self._one + weight
        x = self._x - weight * self._prior_tokens
        xx = self._xx + weight * self._prior_tokens**2
        determinant = one * xx - x * x
        if determinant > 0:
            self._fixed_s = (self._y * xx - self._xy * x) / determinant
            self._per_token_s = (self._xy * one - self._y * x) / determinant
        if self._fixed_s < 0:
            self._fixed_s, self._per_token_s = 0.0, self._xy / self._xx
        elif self._per_token_s <= 0:
            self._fixed_s, self._per_token_s = self._y / self._one, 0.0
        if self._fixed_s < MOST_FIXED_TOKENS * self._per_token_s:
            self.fixed_tokens = max(self._fixed_s / self._per_token_s, LEAST_FIXED_TOKENS)
        else:
            self.fixed_tokens = MOST_FIXED_TOKENS
