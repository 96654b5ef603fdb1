"""As much of the OCI distribution API as a pull needs: tokens, manifests, ranges of blobs."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.integration.weights.local_http import served
from tests.unit.serve_models.weights.registry_layers import Repository, digest_of

USER, PASSWORD, TOKEN = "bob", "hunter2", "a-token"


class RegistryServer:
    """One repository, ``org/chat``, that needs a token; its blobs are at another host name.

    Attributes:
        login: Whether the token needs credentials.
        blob_headers: The headers of each request for a blob's bytes.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.login = False
        self.indexed = False
        self.logins: list[str | None] = []
        self.blob_headers: list[dict[str, str]] = []
        self.port = 0

    @property
    def source(self) -> str:
        return f"oci:127.0.0.1:{self.port}/org/chat"

    @property
    def manifests(self) -> dict[str, bytes]:
        """By tag and by digest."""
        content = json.dumps(self.repository.manifest).encode()
        found = {digest_of(content): content}
        top = content
        if self.indexed:
            attestation = {"digest": "sha256:" + "0" * 64, "platform": {"os": "unknown"}}
            image = {"digest": digest_of(content), "platform": {"os": "linux"}}
            index: dict[str, Any] = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [attestation, image],
            }
            top = json.dumps(index).encode()
            found[digest_of(top)] = top
        return {**found, "1": top, "latest": top}


@contextmanager
def running(registry: RegistryServer) -> Iterator[RegistryServer]:
    class Handler(_Handler):
        registry_server = registry

    with served(Handler) as port:
        registry.port = port
        yield registry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry_server: RegistryServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        registry = self.registry_server
        here = f"http://127.0.0.1:{registry.port}"
        path, _, _query = self.path.partition("?")
        if path == "/token":
            self._token()
        elif path.startswith("/store/"):
            self._blob(path.removeprefix("/store/"))
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            challenge = f'Bearer realm="{here}/token",service="test"'
            self._send(401, b"", {"WWW-Authenticate": challenge})
        elif match := re.fullmatch(r"/v2/org/chat/manifests/(.+)", path):
            content = registry.manifests.get(match[1])
            kind = {"Content-Type": str(json.loads(content)["mediaType"])} if content else {}
            self._send(200 if content else 404, content or b"", kind)
        elif match := re.fullmatch(r"/v2/org/chat/blobs/(.+)", path):
            store = f"http://localhost:{registry.port}/store/{match[1]}"
            self._send(307, b"", {"Location": store})
        else:
            self._send(404, b"", {})

    def _token(self) -> None:
        registry = self.registry_server
        given = self.headers.get("Authorization")
        registry.logins.append(given)
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if registry.login and given != f"Basic {wanted}":
            self._send(401, b"", {})
        else:
            self._send(200, json.dumps({"token": TOKEN}).encode(), {})

    def _blob(self, digest: str) -> None:
        registry = self.registry_server
        registry.blob_headers.append({name.lower(): text for name, text in self.headers.items()})
        content = registry.repository.blobs[digest]
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match is not None
        start, end = int(match[1]), int(match[2]) + 1
        where = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        self._send(206, content[start:end], where)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
