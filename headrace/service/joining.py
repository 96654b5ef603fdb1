"""Joins the Ray cluster that RAY_ADDRESS names, or else the one that runs on this machine."""

import logging
import os
import socket

import psutil
import ray

from headrace.errors import ServiceError
from headrace.status.client import quiet_ray

VARIABLE = "RAY_ADDRESS"
NO_CLUSTER = "no Ray cluster runs on this machine; `headrace up` starts one"
_PROBE_TIMEOUT_S = 5.0
_ANY = ("", "auto", "local")


def join_ray() -> bool:
    """Join the cluster; return whether there is one.

    Raises:
        ServiceError: RAY_ADDRESS names a cluster that does not answer, or not from here.
    """
    quiet_ray()
    address = os.environ.get(VARIABLE, "")
    if address == "local":
        return False
    if address not in _ANY:
        _check(address)
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        if address in _ANY and isinstance(error, RuntimeError) and _runs_node():
            # Another Ray beside it would carry a second service in the same groups.
            raise ServiceError(
                "this machine is a node of a Ray cluster whose head does not answer; start the "
                f"head again, or name another cluster's in {VARIABLE}"
            ) from error
        if address in _ANY:
            # Nothing runs, or what a file in /tmp/ray still names has ended.
            return False
        raise ServiceError(
            f"{VARIABLE}: the cluster at {address} cannot be joined from this machine: {error}"
        ) from error
    return True


def _check(address: str) -> None:
    """Raise for an address that Ray would try for a minute, or for ever."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ServiceError(
            f"{VARIABLE}: {address} is not HOST:PORT of a cluster's head (Ray Client and the "
            "dashboard do not carry what Headrace asks); run the command on a node of the cluster"
        )
    try:
        socket.create_connection((host, int(port)), _PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise ServiceError(
            f"{VARIABLE}: no Ray cluster answers at {address} ({error}); start its head again, or "
            f"unset {VARIABLE}"
        ) from None
    if not _runs_node():
        raise ServiceError(
            f"{VARIABLE}: this machine is no node of the cluster at {address}; run the command on "
            "one that is, on Kubernetes by `kubectl exec`"
        )


def _runs_node() -> bool:
    return any(each.info["name"] == "raylet" for each in psutil.process_iter(["name"]))
