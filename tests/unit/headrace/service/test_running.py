"""What runs, as Serve's details say it; Serve is faked."""

from typing import Any

import pytest

from headrace.errors import ServiceError
from headrace.service import running
from headrace.service.running import running_applications


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
