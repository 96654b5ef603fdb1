"""What runs, as Serve's details say it; Serve is faked."""

from collections.abc import Mapping
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError

from headrace.errors import ServiceError
from headrace.service import running
from headrace.service.running import running_applications, serve_details


def deployments(*names: str) -> dict[str, Any]:
    return {name: {"message": "", "deployment_config": {"user_config": None}} for name in names}


@pytest.mark.parametrize(
    "details",
    [
        {"deployments": deployments("status", "consumer-chats", "model-chat")},
        {
            "deployments": {},
            "deployed_app_config": {"name": "headrace", "import_path": "a:b", "args": {}},
        },
    ],
    ids=["up", "RayService"],
)
def test_the_one_application_of_an_earlier_release_is_not_taken_for_the_status_board(
    details: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"headrace": {"status": "RUNNING", "message": "", **details}}
    monkeypatch.setattr(running, "serve_details", lambda: found)

    with pytest.raises(ServiceError, match=r"earlier release .* Ctrl-C .* `headrace render`"):
        running_applications()


def test_an_application_that_starts_has_no_deployment_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"headrace": {"status": "DEPLOYING", "message": "", "deployments": {}}}
    monkeypatch.setattr(running, "serve_details", lambda: found)

    assert set(running_applications()) == {"headrace"}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("A replica's health check failed. It is replaced.", None),
        ("The deployment failed to start 3 times in a row.\nOSError: none", "OSError: none"),
    ],
)
def test_unhealthy_replicas_are_left_to_serve_and_those_that_never_ran_are_not(
    message: str, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = {"message": message, "deployment_config": {"user_config": {"version": "v"}}}
    details = {"status": "UNHEALTHY", "message": "", "deployments": {"model-m": deployment}}
    monkeypatch.setattr(running, "serve_details", lambda: {"headrace-model-m": details})

    found = running_applications()["headrace-model-m"].error

    assert found == error if error is None else error in (found or "")


class Controller:
    """Serve's controller, which trips over a deployment that is being made."""

    def __init__(self, error: Exception, trips: int) -> None:
        self._error = error
        self._left = trips
        self.get_serve_instance_details = self

    def remote(self) -> dict[str, Any]:
        if self._left:
            self._left -= 1
            failed: Any = RayTaskError
            raise failed("get", "", self._error).as_instanceof_cause()
        return {"applications": {"headrace-model-m": {"status": "DEPLOYING"}, "another": {}}}


def details_by(monkeypatch: pytest.MonkeyPatch, controller: Controller) -> Mapping[str, Any]:
    monkeypatch.setattr(ray, "get_actor", lambda *_, **__: controller)
    monkeypatch.setattr(ray, "get", lambda answer, **_: answer)
    monkeypatch.setattr(running, "_AFTER_TRIP_S", 0.0)
    return serve_details()


def test_a_controller_that_trips_over_a_change_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trip = AttributeError("'NoneType' object has no attribute 'deployment_config'")

    assert details_by(monkeypatch, Controller(trip, 3)) == {
        "headrace-model-m": {"status": "DEPLOYING"}
    }
    with pytest.raises(AttributeError):
        details_by(monkeypatch, Controller(trip, 1_000))
    with pytest.raises(RuntimeError):
        details_by(monkeypatch, Controller(RuntimeError("broken"), 1))
