"""``tracing``: what traces of one record in a hundred cost the ``engine`` benchmark."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.cases.engine import noop_settings
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, rate_per_s
from benchmarks.load import PARTITIONS
from benchmarks.registry import Benchmark
from benchmarks.workloads import NOOP_RECORD_BYTES, noop_lines
from schemas.settings.tracing import TracingSettings

SAMPLE_RATIO = 0.01


def run(context: Context) -> Result:
    """Drain the same backlog with traces, which a collector takes, and without."""
    stage = context.stage
    records = context.size(full=200_000, quick=20_000)
    model = noop_settings()

    def drain(tracing: TracingSettings) -> float:
        stage.tracing = tracing
        with stage.model(model):
            return rate_per_s(stage.drain(model, noop_lines(records)))

    with _collector() as collector:
        traced = TracingSettings(
            enabled=True, sample_ratio=SAMPLE_RATIO, endpoint=collector.endpoint
        )
        series = context.interleave(lambda: drain(traced), lambda: drain(TracingSettings()))
    details = {
        "records": records,
        "request_bytes": NOOP_RECORD_BYTES,
        "partitions": PARTITIONS,
        "sample_ratio": SAMPLE_RATIO,
        "exports": collector.exports,
        "exported_bytes": collector.exported_bytes,
    }
    return Result(series={"all": series}, details=details, holds=collector.exports > 0)


class _Collector:
    """Counts what it is sent, and reads none of it: it shares the machine."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.exports = 0
        self.exported_bytes = 0


@contextmanager
def _collector() -> Iterator[_Collector]:
    collector = _Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Take an export."""
            collector.exported_bytes += len(self.rfile.read(int(self.headers["Content-Length"])))
            collector.exports += 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


BENCHMARK = Benchmark(
    name="tracing",
    subject="the service with a no-op model and traces of 1 % of the records",
    baseline="the same without traces",
    unit="records/s",
    bar=Bar(0.97, "at least"),
    aim=None,
    run=run,
)
