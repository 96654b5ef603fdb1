"""A token endpoint on this machine: unsecured JSON Web Tokens, as Kafka validates them."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from headrace_client.clock import epoch_ms


def encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def unsecured_token(subject: str, lifetime_s: float) -> str:
    now_s = epoch_ms() / 1000
    claims = {"sub": subject, "iat": now_s, "exp": now_s + lifetime_s}
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


@dataclass
class TokenEndpoint:
    """What the endpoint does next, and what it was asked."""

    subject: str = "admin"
    lifetime_s: float = 3600.0
    says_lifetime: bool = True
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """Given in place of tokens, the first one first."""
    asked: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    def answer(self) -> tuple[int, bytes]:
        if self.answers:
            return self.answers.pop(0)
        token: dict[str, object] = {
            "access_token": unsecured_token(self.subject, self.lifetime_s),
            "token_type": "Bearer",
        }
        if self.says_lifetime:
            token["expires_in"] = self.lifetime_s
        return 200, json.dumps(token).encode()


@contextmanager
def token_endpoint() -> Iterator[TokenEndpoint]:
    endpoint = TokenEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            endpoint.asked.append({**form, "authorization": self.headers["Authorization"] or ""})
            status, content = endpoint.answer()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
