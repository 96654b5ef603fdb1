"""Lowers the token budget when memory does not suffice. Pure."""

_STEPS = 256
"""Full batches that must fit before the size that failed is tried again."""
_PASSES = 8
"""A full batch is worth at least this many times the fixed cost of its forward pass, which then
takes a ninth of the time."""


def worthwhile_tokens(fixed_tokens: float, least_tokens: int, most_tokens: int) -> int:
    """Return the budget at which a forward pass's fixed cost hardly counts, within the limits."""
    return max(least_tokens, min(most_tokens, int(_PASSES * fixed_tokens)))


class TokenBudget:
    """Halves the budget after a batch that ran out of memory, then raises it slowly.

    Additive increase and multiplicative decrease, as in TCP's window (Chiu and Jain, 1989): another
    process may hold the missing memory, and give it back. It never goes below ``least_tokens``.

    Attributes:
        too_large: How many batches, or parts of one, ran out of memory so far.
    """

    def __init__(self, most_tokens: int, least_tokens: int = 16) -> None:
        self._most_tokens = most_tokens
        self._least_tokens = min(least_tokens, most_tokens)
        # Fractions too: a budget of a few records must grow as slowly as one of many tokens.
        self._tokens: float = most_tokens
        self._step_tokens: float = most_tokens
        self.too_large = 0

    @property
    def tokens(self) -> int:
        """The most that rows times the longest row may be now."""
        return int(self._tokens)

    def set_most(self, most_tokens: int) -> None:
        """Change the most; what memory has not held so far is not tried at once."""
        if self._tokens >= self._most_tokens or self._tokens > most_tokens:
            self._tokens = most_tokens
        self._most_tokens = most_tokens

    def was_too_large(self, cost_tokens: int) -> None:
        self.too_large += 1
        self._tokens = max(self._least_tokens, min(self._tokens, cost_tokens // 2))
        self._step_tokens = self._tokens / _STEPS

    def fitted(self, cost_tokens: int) -> None:
        if self.tokens < self._most_tokens and cost_tokens * 2 > self.tokens:
            self._tokens = min(self._most_tokens, self._tokens + self._step_tokens)
