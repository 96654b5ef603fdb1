"""``headrace up`` against a cluster that runs elsewhere, by RAY_ADDRESS."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson

from handoff.clock import SystemClock
from schemas.settings.file import Settings
from tests.chaos.stage.processes import ROOT

_STOP_PATIENCE_S = 150.0
_ASK_PATIENCE_S = 120.0
_LOOK_EVERY_S = 0.2


class UpProcess:
    """The command as a process; what it prints is in ``folder``."""

    def __init__(self, settings: Settings, folder: Path, name: str = "up") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / f"{name}.yaml"
        # JSON is YAML.
        self._config.write_bytes(orjson.dumps(settings.model_dump(mode="json", exclude_unset=True)))
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def start(self, address: str, patience_s: float) -> None:
        """Return when the service runs, which the command says by its first report."""
        self._address = address
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                self._command("up", "--json"), stdout=out, stderr=err, env=self._environment()
            )
        clock, pause = SystemClock(), threading.Event().wait
        give_up_at_s = clock.monotonic() + patience_s
        while not self._out.read_bytes():
            if self._process.poll() is not None or clock.monotonic() > give_up_at_s:
                raise RuntimeError(f"`headrace up` does not run: {self._err.read_text()[-3000:]}")
            pause(_LOOK_EVERY_S)

    def said(self) -> str:
        return self._err.read_text()

    def reports(self) -> list[dict[str, Any]]:
        lines = self._out.read_bytes().split(b"\n")
        # The last one may be half written.
        return [orjson.loads(line) for line in lines[:-1] if line]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of ``headrace`` with the same settings and cluster."""
        return subprocess.run(
            self._command(*arguments),
            capture_output=True,
            text=True,
            timeout=_ASK_PATIENCE_S,
            check=False,
            env=self._environment(),
        )

    def stop(self) -> int | None:
        """Drain and stop the service, if the command still runs; return its exit status."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _command(self, *arguments: str) -> list[str]:
        headrace = Path(sys.executable).with_name("headrace")
        return [str(headrace), *arguments, "--config", str(self._config)]

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        return {**os.environ, "RAY_ADDRESS": self._address, "PYTHONPATH": path}
