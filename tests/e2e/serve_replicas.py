"""The replicas of a running Serve deployment: their processes, and their calls in flight."""

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.serve._private.constants import SERVE_NAMESPACE


@dataclass(frozen=True)
class Replica:
    actor: Any
    process: psutil.Process
    engines: list[psutil.Process]
    """vLLM's engine processes; they start after the replica's own."""

    def ongoing_calls(self) -> int:
        """Return how many handle calls the replica has taken and not ended."""
        calls: int = ray.get(self.actor.get_num_ongoing_requests.remote())
        return calls


def replicas_of(deployment: str) -> list[Replica]:
    """Return a deployment's running replicas; one that ends meanwhile is left out."""
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    found: list[Replica] = []
    for name in names:
        if f"#{deployment}#" not in name:
            continue
        try:
            actor: Any = ray.get_actor(name, namespace=SERVE_NAMESPACE)
            process_id: Any = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
            process = psutil.Process(process_id)
            children = process.children()
        except (ValueError, ray.exceptions.RayActorError, psutil.NoSuchProcess):
            continue
        engines = [each for each in children if _is_engine(each)]
        found.append(Replica(actor, process, engines))
    return found


def _is_engine(process: psutil.Process) -> bool:
    """Tell vLLM's engine from Python's resource tracker; it does not always set its title."""
    try:
        command_line = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return "EngineCore" in command_line or "spawn_main" in command_line
