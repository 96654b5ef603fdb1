"""Runs a batch, and halves a batch that fails until only the items at fault have no row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_models.batching.memory import is_out_of_memory, release_memory
from serve_models.batching.work import Item
from serve_models.chunks.failures import ENDS_THE_PROCESS, Refusal

Forward = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(slots=True)
class Isolated:
    """The result of a batch.

    Attributes:
        rows: For each item its row, or its outcome when it ran alone.
        raised: Whether the model raised an error on some item that ran alone.
        too_large_tokens: The cost of each part of several items that ran out of memory.
    """

    rows: list[Any | Refusal] = field(default_factory=list)
    raised: bool = False
    too_large_tokens: list[int] = field(default_factory=list)

    @property
    def has_only_failures(self) -> bool:
        return all(isinstance(row, Refusal) and row.is_failure for row in self.rows)


@dataclass(frozen=True, slots=True)
class _Failed:
    refusal: Refusal
    is_out_of_memory: bool


def run_isolating(forward: Forward, items: Sequence[Item]) -> Isolated:
    """Run a non-empty batch; if it fails, halve it until only the items at fault have no row.

    ``forward`` returns a row or a refusal for each item, and may raise anything.
    """
    isolated = Isolated()
    parts = [items]
    while parts:
        part = parts.pop()
        result = _run(forward, part)
        if not isinstance(result, _Failed):
            isolated.rows.extend(result)
            continue
        if result.is_out_of_memory:
            release_memory()
            if len(part) > 1:
                isolated.too_large_tokens.append(cost_tokens(part))
        if len(part) == 1:
            isolated.raised = isolated.raised or result.refusal.is_failure
            isolated.rows.append(result.refusal)
        else:
            half = len(part) // 2
            parts += [part[half:], part[:half]]
    return isolated


def cost_tokens(items: Sequence[Item]) -> int:
    return len(items) * max(item.tokens for item in items)


def _run(forward: Forward, items: Sequence[Item]) -> Iterable[Any] | _Failed:
    try:
        return forward(items)
    except ENDS_THE_PROCESS:
        raise
    except BaseException as error:  # noqa: BLE001 -- a model may raise anything; each waiter is answered
        # The halves run after this returns: within ``except`` the failed forward stays alive.
        return _Failed(Refusal.of(error), is_out_of_memory(error))
