"""Spans for tests: kept in memory, or sent to a collector that this process runs."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

from handoff.tracing.spans import Span


class KeptSpans:
    """A ``SpanSink`` that keeps what it takes."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def take(self, spans: Iterable[Span]) -> None:
        self.spans += spans

    def named(self, name: str) -> Span:
        """Return the only span of a name."""
        (found,) = (each for each in self.spans if each.name == name)
        return found

    def names(self) -> list[str]:
        return sorted(each.name for each in self.spans)


class Collector:
    """What a collector was sent by OTLP over HTTP.

    Attributes:
        endpoint: As ``tracing.endpoint`` names it.
        spans: Each with the name of its service.
        headers: Of the last request.
        refuses: While set, it answers 400.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[tuple[str, SentSpan]] = []
        self.headers: dict[str, str] = {}
        self.refuses = False
        self._came = threading.Condition()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._came:
            self.headers = headers
            for resource in request.resource_spans:
                attributes = {each.key: each.value for each in resource.resource.attributes}
                service = attributes["service.name"].string_value
                for scope in resource.scope_spans:
                    self.spans += [(service, each) for each in scope.spans]
            self._came.notify_all()

    def wait_for(self, wanted: Mapping[str, int], timeout_s: float = 20.0) -> None:
        """Wait for at least so many spans of each name."""
        with self._came:
            assert self._came.wait_for(lambda: self._names() >= Counter(wanted), timeout_s), (
                self._names()
            )

    def _names(self) -> Counter[str]:
        return Counter(span.name for _, span in self.spans)

    def named(self, name: str) -> SentSpan:
        (found,) = (span for _, span in self.spans if span.name == name)
        return found


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector that takes OTLP over HTTP."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.refuses or self.path != "/v1/traces":
                self.send_response(400)
                self.end_headers()
                return
            collector.take(body, {key.lower(): value for key, value in self.headers.items()})
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
