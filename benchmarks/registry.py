"""Which benchmarks there are: every module of ``benchmarks.cases`` names one ``BENCHMARK``."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import cases
from benchmarks.context import Context
from benchmarks.harness import Bar, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A comparison that can be run by name.

    Attributes:
        name: What ``--only`` takes, and the results file's name.
        subject: What is measured, in a few words.
        baseline: What it is held against.
        unit: Of both sides.
        bar: What the ratio must reach; ``None`` where it is only told.
        aim: The ratio that we would like.
        run: Measures.
    """

    name: str
    subject: str
    baseline: str
    unit: str
    bar: Bar | None
    aim: float | None
    run: Callable[[Context], Result]


def all_benchmarks() -> dict[str, Benchmark]:
    """Return every benchmark by its name."""
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(cases.__path__):
        benchmark = importlib.import_module(f"{cases.__name__}.{module.name}").BENCHMARK
        if benchmark.name in found:
            raise ValueError(f"two benchmarks are called {benchmark.name}: rename one")
        found[benchmark.name] = benchmark
    return found
