"""Finds the benchmarks: every module of ``benchmarks.cases`` has one ``BENCHMARK``."""

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
        baseline: What it is compared with.
        unit: Of both sides.
        bar: What the ratio must reach; ``None`` if it is only reported.
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


def names() -> list[str]:
    """Return the names of all benchmarks: those of the modules, with dashes."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(cases.__path__))


def find(name: str) -> Benchmark:
    """Import one benchmark; those that are not run cost nothing.

    Raises:
        ValueError: The module's ``BENCHMARK`` has another name.
    """
    module = f"{cases.__name__}.{name.replace('-', '_')}"
    benchmark: Benchmark = importlib.import_module(module).BENCHMARK
    if benchmark.name != name:
        raise ValueError(f"{module}: the benchmark is called {benchmark.name}; call it {name}")
    return benchmark
