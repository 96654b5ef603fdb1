"""Runs the embedded broker: a wheel with one binary, for a laptop with neither Docker nor Java."""

import importlib.util
from pathlib import Path

from headrace.brokers.process import BrokerProcess
from headrace.brokers.readiness import choose_port
from headrace.brokers.running import BrokerStartError, RunningBroker

START_TIMEOUT_S = 20.0


def start_embedded(*, data_dir: Path, port: int = 0) -> RunningBroker:
    """Start the embedded broker (noida-db) on 127.0.0.1.

    It is for trying out: when killed, it loses records that it had acknowledged. Raises
    ``BrokerStartError`` if the wheel is not installed, or the broker did not start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    port = choose_port(port)
    process = BrokerProcess(
        [
            str(_find_binary()),
            "start",
            "--only",
            "kafka",
            "--host",
            "127.0.0.1",
            "--kafka-port",
            str(port),
            "--data-dir",
            str(data_dir / "noida-db"),
        ],
        log_file=data_dir / "broker.log",
        directory=data_dir,
    )
    process.wait_ready("127.0.0.1", port, START_TIMEOUT_S)
    return RunningBroker(
        kind="embedded",
        bootstrap=f"127.0.0.1:{port}",
        durable=False,
        description="embedded broker (noida-db), for trying out only: a crash loses records",
        log_file=process.log_file,
        process_id=process.process_id,
        stop=process.stop,
        kill=process.kill,
        is_alive=process.is_alive,
    )


def _find_binary() -> Path:
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise BrokerStartError(
            "the embedded broker is not installed: pip install 'headrace[demo]', or set "
            "kafka.broker to kafka-home, docker or external"
        )
    for name in ("noida-db", "noida-db.exe"):
        binary = Path(spec.origin).with_name(name)
        if binary.is_file():
            return binary
    raise BrokerStartError(
        f"the wheel noida-db carries no binary in {Path(spec.origin).parent}: reinstall it"
    )
