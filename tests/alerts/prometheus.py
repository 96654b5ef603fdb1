"""A real Prometheus as a process, and what it answers."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson
import yaml

from handoff.clock import SystemClock
from tests.chaos.stage.ports import reserve_port

_START_PATIENCE_S = 30.0
_STOP_PATIENCE_S = 10.0
_ANSWER_PATIENCE_S = 20.0


class PrometheusMissingError(Exception):
    """Prometheus is not installed."""


class Prometheus:
    """Scrapes one address and evaluates rules, each every ``interval``.

    Args:
        folder: For its configuration, data and log; created if missing.
        target: HOST:PORT of the metrics.
        groups: Groups of rules, as a file of rules has them.
        interval: Of scrapes and evaluations, as Prometheus writes durations.
    """

    def __init__(
        self, folder: Path, target: str, groups: Sequence[Mapping[str, Any]], interval: str = "1s"
    ) -> None:
        self._folder = folder
        self._port = reserve_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "alerts.yaml").write_text(yaml.safe_dump({"groups": list(groups)}))

    async def start(self) -> None:
        """Return when it answers; raises ``PrometheusMissingError``."""
        binary = shutil.which("prometheus")
        if binary is None:
            raise PrometheusMissingError(
                "prometheus is not on the path: on Debian, apt-get install prometheus"
            )
        self._process = self._spawn(binary)
        clock = SystemClock()
        give_up_at_s = clock.monotonic() + _START_PATIENCE_S
        while True:
            with contextlib.suppress(URLError, OSError):
                await self.query("vector(1)")
                return
            if self._process.poll() is not None or clock.monotonic() > give_up_at_s:
                said = (self._folder / "prometheus.log").read_text()
                raise RuntimeError(f"Prometheus does not start: {said[-2000:]}")
            await asyncio.sleep(0.2)

    def _spawn(self, binary: str) -> subprocess.Popen[bytes]:
        with (self._folder / "prometheus.log").open("wb") as log:
            return subprocess.Popen(
                [
                    binary,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        answer = await self._get("alerts", {})
        found: list[dict[str, Any]] = answer["alerts"]
        return found

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        answer = await self._get("query", {"query": expression})
        found: list[dict[str, Any]] = answer["result"]
        return found

    async def query_range(
        self, expression: str, start_s: float, end_s: float, step_s: float
    ) -> list[dict[str, Any]]:
        """Return the series of an expression over a time; epoch seconds."""
        asked = {"query": expression, "start": start_s, "end": end_s, "step": step_s}
        answer = await self._get("query_range", asked)
        found: list[dict[str, Any]] = answer["result"]
        return found

    async def _get(self, what: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._ask, what, parameters)

    def _ask(self, what: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urlencode(parameters)}"
        with urlopen(address, timeout=_ANSWER_PATIENCE_S) as response:
            answer: dict[str, Any] = orjson.loads(response.read())
        data: dict[str, Any] = answer["data"]
        return data
