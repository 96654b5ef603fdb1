"""The table of names has the conventions' own, of the release that is installed."""

import importlib
import pkgutil

from opentelemetry.semconv import attributes as stable
from opentelemetry.semconv._incubating import attributes as incubating

from handoff.tracing import names


def conventions() -> set[str]:
    found: set[str] = set()
    for package in (stable, incubating):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            values = vars(importlib.import_module(module.name)).values()
            found |= {each for each in values if isinstance(each, str)}
    return found


def test_each_name_of_the_conventions_is_one() -> None:
    assert names.STANDARD - conventions() == set()


def test_all_others_are_marked_as_our_own() -> None:
    attributes = {
        value
        for name, value in vars(names).items()
        if name.isupper() and isinstance(value, str) and "." in value and "/" not in value
    }
    ours = attributes - names.STANDARD - {names.CONVENTIONS}

    assert ours
    assert all(each.startswith("headrace.") for each in ours)
