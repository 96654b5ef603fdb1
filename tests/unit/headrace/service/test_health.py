"""When a service counts as well."""

from consumer.replica.reports import RouteStatus
from headrace.service.health import complaints


def test_a_route_with_a_consumer_is_well() -> None:
    assert complaints(["a"], {"a": RouteStatus(route="a", replicas=1)}) == []


def test_a_route_that_nobody_reports_on_is_not() -> None:
    assert complaints(["a", "b"], {"a": RouteStatus(route="a")}) == [
        "a: no consumer reports",
        "b: no consumer reports",
    ]


def test_what_a_consumer_complains_of_is_told() -> None:
    status = RouteStatus(route="a", replicas=2, errors=["r1: lost"])

    assert complaints(["a"], {"a": status}) == ["a: consumer r1: lost"]
