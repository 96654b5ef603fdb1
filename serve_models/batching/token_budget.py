"""Lowers the token budget when memory does not suffice. Pure."""

_LEAST_TOKENS = 16
_STEPS = 256
"""Full batches that must fit before the size that failed is tried again."""


class TokenBudget:
    """Halves the budget after a batch that ran out of memory, then raises it slowly.

    Additive increase and multiplicative decrease, as in TCP's window (Chiu and Jain, 1989): another
    process may hold the missing memory, and give it back.

    Attributes:
        tokens: The most that rows times the longest row may be now.
        too_large: How many batches, or parts of one, ran out of memory so far.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._step_tokens = most_tokens
        self.tokens = most_tokens
        self.too_large = 0

    def was_too_large(self, cost_tokens: int) -> None:
        self.too_large += 1
        least = min(_LEAST_TOKENS, self._most_tokens)
        self.tokens = max(least, min(self.tokens, cost_tokens // 2))
        self._step_tokens = max(1, self.tokens // _STEPS)

    def fitted(self, cost_tokens: int) -> None:
        if self.tokens < self._most_tokens and cost_tokens * 2 > self.tokens:
            self.tokens = min(self._most_tokens, self.tokens + self._step_tokens)
