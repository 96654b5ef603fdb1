"""A real broker, the service on a real Ray, a load, and a Prometheus that reads its metrics."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.cases.embed import model_directory
from benchmarks.random_checkpoints import THIN, save_encoder
from headrace.observability.alerts.alert import Pace
from headrace.observability.alerts.groups import alert_groups
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from headrace.service.service import LocalService
from schemas.settings.file import Settings
from tests.alerts.load import Load
from tests.alerts.model import Orders
from tests.alerts.prometheus import Prometheus
from tests.chaos.stage.cluster import Cluster
from tests.chaos.stage.ports import reserve_port
from tests.chaos.stage.processes import ROOT
from tests.chaos.stage.serve_stage import replicas_among

T = TypeVar("T")

PACE = Pace(60)
"""A minute of an alert's windows is a second here."""
PLAIN, EXACT, TEXTS = "plain", "exact", "texts"
"""Routes: at-least-once, exactly-once, and one with a real embedder."""
MODEL, EMBEDDER = "steady", "embedder"
URL, TEXTS_URL = "/v1/steady", "/v1/embeddings"
CONSUMERS, PARTITIONS = 2, 4
SESSION_S = 20.0
SHORT_SESSION_S = 3.0
METADATA_LIMIT_CHARACTERS = 256
_BROKER_METADATA_LIMIT_CHARACTERS = 512
_MAX_RECORDS = 300
_EXPORT_INTERVAL = {"RAY_metrics_report_interval_ms": "1000"}
"""Ray exports every 10 s; alerts that are sixty times as quick need it quicker."""
_RATES_PER_S = {PLAIN: 60.0, EXACT: 6.0, TEXTS: 12.0}
_TEXT = "Rivers turn mills where a headrace leads their water to the wheel."


class AlertStage:
    """Everything that runs, until ``stop``.

    Attributes:
        cluster: The broker, and the proxy through which the service reaches it.
        service: The service, for changes of its settings.
        loads: By route.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster(folder / "kafka", 1, _BROKER_METADATA_LIMIT_CHARACTERS)
        self._metrics_port = reserve_port()
        self._orders = folder / "model"
        self._orders.mkdir(parents=True)
        self.order(Orders())
        checkpoint = save_encoder(folder / "thin", THIN, model_directory())
        self.settings = _settings(self.cluster.proxied_bootstrap, self._orders, checkpoint)
        self.service = LocalService(
            self.settings, data_dir=folder, use_ray="local", metrics_port=self._metrics_port
        )
        groups = alert_groups(self.settings, PACE)
        self.rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
        target = f"127.0.0.1:{self._metrics_port}"
        self.prometheus = Prometheus(folder / "prometheus", target, groups)
        self.loads = {
            name: Load(
                self.cluster.bootstrap,
                self.settings.routes[name].requests_topic,
                TEXTS_URL if name == TEXTS else URL,
                rate_per_s,
                {"model": EMBEDDER, "input": _TEXT} if name == TEXTS else {},
            )
            for name, rate_per_s in _RATES_PER_S.items()
        }
        # One thread must start and stop Ray, and the event loop must continue meanwhile.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serve")
        self._is_up = False

    async def start(self) -> None:
        """Start everything; return when the first records are answered."""
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        os.environ.update(_EXPORT_INTERVAL)
        await self.cluster.start()
        await self.on_thread(self.service.start)
        self._is_up = True
        await self.prometheus.start()
        for load in self.loads.values():
            await load.start()
        await self.until(self._are_all_routes_working, 90)

    async def stop(self) -> None:
        for load in self.loads.values():
            await load.stop()
        self.prometheus.stop()
        if self._is_up:
            await self.on_thread(self.service.stop)
        self._thread.shutdown()
        await self.cluster.stop()

    def order(self, orders: Orders) -> None:
        """Tell the model of the routes ``plain`` and ``exact`` what to do from now on."""
        orders.write(self._orders)

    async def apply(self, settings: Settings) -> None:
        """Change the service into what the settings say."""
        await self.on_thread(self.service.apply, settings)

    async def on_thread(self, action: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(action, *arguments))

    def consumers(self, route: str) -> list[psutil.Process]:
        return self._replicas(consumer_deployment_name(route))

    def models(self) -> list[psutil.Process]:
        return self._replicas(model_deployment_name(MODEL))

    async def until(self, holds: Callable[[], Any], patience_s: float) -> bool:
        """Wait until an awaitable condition holds; return whether it did in time."""
        try:
            async with asyncio.timeout(patience_s):
                while not await holds():
                    await asyncio.sleep(0.5)
        except TimeoutError:
            return False
        return True

    async def _are_all_routes_working(self) -> bool:
        found = await self.prometheus.query(
            "sum by (route) (rate(ray_headrace_completed_records_total[5s])) > 0"
        )
        return {each["metric"]["route"] for each in found} >= set(self.loads)

    @staticmethod
    def _replicas(deployment: str) -> list[psutil.Process]:
        return replicas_among(psutil.Process().children(recursive=True), deployment)


def route_with(settings: Settings, name: str, **changes: object) -> Settings:
    """Return settings with another route of this name."""
    route = settings.routes[name].model_copy(update=changes)
    return settings.model_copy(update={"routes": {**settings.routes, name: route}})


def _settings(bootstrap: str, orders: Path, checkpoint: Path) -> Settings:
    limits = {
        "lag_s": 12,
        "held_s": 8,
        "paused_s": 8,
        "end_to_end_p99_s": 8,
        "commit_p99_s": 0.5,
        "publish_p95_s": 0.5,
    }
    routes: dict[str, dict[str, object]] = {
        PLAIN: {"model": MODEL, "consumers": CONSUMERS},
        EXACT: {"model": MODEL, "delivery": "exactly_once", "transactions": {"timeout_ms": 5_000}},
        TEXTS: {"model": EMBEDDER},
    }
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap": bootstrap,
                "offset_metadata_max_bytes": METADATA_LIMIT_CHARACTERS,
            },
            "models": {
                MODEL: {
                    "kind": "custom",
                    "import_path": "tests.alerts.model:FaultyModel",
                    "options": {"folder": str(orders)},
                    "urls": [URL],
                    "num_cpus": 0.1,
                    "health_check_period_s": 1.0,
                    "autoscaling": {
                        "min_replicas": 1,
                        "max_replicas": 2,
                        "drain_target_s": 10,
                        "period_s": 1,
                        "lag_timeout_s": 2,
                        "expected_cold_start_s": 5,
                        "downscale_delay_s": 5,
                    },
                },
                EMBEDDER: {
                    "kind": "embedder",
                    "source": f"path:{checkpoint}",
                    "device": "cpu",
                    "dtype": "float32",
                    "num_cpus": 0.1,
                },
            },
            "routes": {
                name: {
                    "requests_topic": f"{name}.requests",
                    "results_topic": f"{name}.results",
                    "dead_letters_topic": f"{name}.dead-letters",
                    "control_topic": f"{name}.control",
                    "group": f"headrace-{name}",
                    "consumer_num_cpus": 0.1,
                    "topics": {"partitions": PARTITIONS},
                    "flow": {"max_records": _MAX_RECORDS},
                    "membership": {
                        "session_timeout_ms": round(SESSION_S * 1000),
                        "heartbeat_interval_ms": 500,
                        "rebalance_timeout_ms": 30_000,
                    },
                    "retry": {"first_backoff_ms": 50, "max_backoff_ms": 500},
                    "alerts": limits,
                    **route,
                }
                for name, route in routes.items()
            },
        }
    )
