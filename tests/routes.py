"""Routes of settings, with topics of their own."""

from typing import Any


def route_to(model: str, **values: Any) -> dict[str, Any]:
    """Return a route to a model, whose name all that it has begins with."""
    return {
        "model": model,
        "requests_topic": f"{model}.in",
        "results_topic": f"{model}.out",
        "dead_letters_topic": f"{model}.dead",
        "group": model,
        **values,
    }
