"""The whole service on a real local Ray Serve, and faults of its replicas' processes."""

import asyncio
import math
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.processes import is_replica_title
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from headrace.service.service import LocalService
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.models import CustomModelSettings
from tests.chaos.faults.schedule import CLEAN, Fault, Kind
from tests.chaos.load.records import URL
from tests.chaos.stage.processes import ROOT
from tests.chaos.stage.stage import METADATA_LIMIT_CHARACTERS, SESSION_TIMEOUT_S, Plan, Stage

ROUTE = "chaos"
MODEL = "chaos"
_REPLACED_PATIENCE_S = 90.0
_FROZEN_S = SESSION_TIMEOUT_S + 3.0


class ServeStage(Stage):
    """A stage whose consumers and models are Serve's replicas; Serve replaces them.

    Args:
        plan: What it consists of.
        folder: For data and logs.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        super().__init__(plan, folder)
        self.models = []
        route = self.route.model_copy(
            update={"consumers": plan.members, "consumer_num_cpus": 0.1, "model": MODEL}
        )
        settings = Settings(
            kafka=KafkaSettings(
                bootstrap=self.cluster.bootstrap,
                offset_metadata_max_bytes=METADATA_LIMIT_CHARACTERS,
            ),
            models={
                MODEL: CustomModelSettings(
                    kind="custom",
                    import_path="tests.chaos.stage.serve_model:ChaosServeModel",
                    urls=(URL,),
                    replicas=plan.models,
                    num_cpus=0.1,
                    health_check_period_s=1.0,
                )
            },
            routes={ROUTE: route},
            console=ConsoleSettings(enabled=False),
        )
        self._service = LocalService(settings, data_dir=folder, use_ray="local")
        # One thread must start and stop Ray, and the event loop must continue meanwhile.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serve")
        self._is_up = False

    async def start(self) -> None:
        """Start everything."""
        # Ray's workers import the model from here.
        os.environ["PYTHONPATH"] = str(ROOT)
        await self.cluster.start()
        await self.create_topics()
        await self.observer.start()
        await self.load.start()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._service.start)
        self._is_up = True

    async def stop(self) -> None:
        """Stop everything."""
        await self.load.stop()
        await self.observer.stop()
        if self._is_up:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._service.stop)
        self._thread.shutdown()
        await self.cluster.stop()

    def note_models(self) -> None:
        """Tell the checker that replicas may be down at any time: Serve does not say when."""
        self.checker.model_down(0.0, math.inf)

    def is_balanced(self) -> bool:
        """Return whether all replicas run. The checker sees whether each partition moves."""
        return (
            len(self.consumer_processes()) == self.plan.members
            and len(self.model_processes()) == self.plan.models
        )

    def consumer_processes(self) -> list[psutil.Process]:
        return _replicas(consumer_deployment_name(ROUTE))

    def model_processes(self) -> list[psutil.Process]:
        return _replicas(model_deployment_name(MODEL))


class ServeFaults:
    """Injects faults into a Serve stage.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: ServeStage) -> None:
        self._stage = stage
        self._actions: Mapping[Kind, Callable[[Fault], Awaitable[None]]] = {
            Kind.CONSUMER_KILL: self._consumer_kill,
            Kind.CONSUMER_FREEZE: self._consumer_freeze,
            Kind.MODEL_KILL: self._model_kill,
            Kind.MODEL_FREEZE: self._model_freeze,
            Kind.POISON: self._poison,
        }

    async def do(self, fault: Fault) -> None:
        """Inject a fault; return when Serve has replaced what was lost."""
        name = f"#{fault.number} serve {fault.kind.value}"
        action = self._actions[fault.kind]
        # Serve replaces replicas in its own time, so the clock of standing still stops.
        await self._stage.during(name, lambda: action(fault), is_clean=fault.kind in CLEAN)

    async def _consumer_kill(self, fault: Fault) -> None:
        await self._kill(self._stage.consumer_processes(), fault)

    async def _model_kill(self, fault: Fault) -> None:
        await self._kill(self._stage.model_processes(), fault)

    async def _consumer_freeze(self, fault: Fault) -> None:
        await self._freeze(self._stage.consumer_processes(), fault)

    async def _model_freeze(self, fault: Fault) -> None:
        await self._freeze(self._stage.model_processes(), fault)

    async def _poison(self, fault: Fault) -> None:
        load = self._stage.load
        await load.publish([load.workload.make(poison=True)])
        # Each attempt costs a replica, and Serve takes a while to start another.
        await asyncio.sleep(10.0)
        await self._replaced()

    async def _kill(self, processes: list[psutil.Process], fault: Fault) -> None:
        if processes:
            processes[fault.victim % len(processes)].send_signal(signal.SIGKILL)
        await asyncio.sleep(1.0)
        await self._replaced()

    async def _freeze(self, processes: list[psutil.Process], fault: Fault) -> None:
        if not processes:
            return
        process = processes[fault.victim % len(processes)]
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(_FROZEN_S)
        finally:
            # Serve may have given it up and killed it.
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        await self._replaced()

    async def _replaced(self) -> None:
        await self._stage.until(
            self._stage.is_balanced, _REPLACED_PATIENCE_S, "Serve has replaced what was lost"
        )
        await asyncio.sleep(1.0)


def _replicas(deployment: str) -> list[psutil.Process]:
    return replicas_among(psutil.Process().children(recursive=True), deployment)


def replicas_among(processes: Iterable[psutil.Process], deployment: str) -> list[psutil.Process]:
    """Return those of the processes that run a replica of a deployment."""
    found = []
    for process in processes:
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if is_replica_title(title, deployment):
            found.append(process)
    return sorted(found, key=lambda process: process.pid)
