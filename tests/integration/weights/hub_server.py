"""As much of the Hugging Face hub's API as its library needs to fetch a repository."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.integration.weights.local_http import served

PIECE_BYTES = 64 * 1024


class HubServer:
    """One repository, ``org/model``: files by commit, and what was asked for.

    Attributes:
        cuts: After so many bytes of a file its connection breaks off, the number of times given.
        hold: Where cleared, no file's last byte is sent before it is set.
    """

    def __init__(self) -> None:
        self.branch = ""
        self.commits: dict[str, dict[str, bytes]] = {}
        self.token: str | None = None
        self.gets: list[tuple[str, str | None]] = []
        self.cuts: dict[str, list[int]] = {}
        self.damaged: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.held = threading.Event()
        self.url = ""

    def commit(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False)
        self.branch = digest.hexdigest()
        self.commits[self.branch] = files
        return self.branch

    def resolve(self, revision: str) -> str:
        return self.branch if revision in {"main", ""} else revision

    def got(self, name: str) -> int:
        return sum(path == name for path, _ in self.gets)


@contextmanager
def running(hub: HubServer) -> Iterator[HubServer]:
    class Handler(_Handler):
        server_hub = hub

    with served(Handler) as port:
        hub.url = f"http://127.0.0.1:{port}"
        try:
            yield hub
        finally:
            hub.hold.set()


def entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
    found: dict[str, Any] = {
        "type": "file",
        "path": path,
        "rfilename": path,
        "size": len(content),
        "oid": blob.hexdigest(),
        "blobId": blob.hexdigest(),
    }
    if path.endswith(".safetensors"):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {
            "oid": sha256,
            "sha256": sha256,
            "size": len(content),
            "pointerSize": 130,
        }
    return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_hub: HubServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.server_hub
        path = self.path.partition("?")[0]
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._json({"error": "Invalid credentials"}, 401)
            return
        if match := re.fullmatch(r"/api/models/org/model(?:/revision/([^/]+))?", path):
            self._model(hub.resolve(match[1] or ""))
        elif match := re.fullmatch(r"/api/models/org/model/tree/([^/]+)", path):
            files = hub.commits.get(hub.resolve(match[1]), {})
            self._json([entry(name, content) for name, content in files.items()])
        elif match := re.fullmatch(r"/org/model/resolve/([^/]+)/(.+)", path):
            self._file(hub.resolve(match[1]), match[2], with_body=with_body)
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _model(self, commit: str) -> None:
        files = self.server_hub.commits.get(commit)
        if files is None:
            self._json({"error": "no"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [entry(name, content) for name, content in files.items()]
        self._json({"id": "org/model", "sha": commit, "siblings": siblings})

    def _file(self, commit: str, name: str, *, with_body: bool) -> None:
        hub = self.server_hub
        content = hub.commits[commit][name]
        found = entry(name, content)
        if name in hub.damaged:
            content = content[:-1] + b"?"
        start = 0
        asked = self.headers.get("Range")
        if asked is not None:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        etag = found["lfs"]["sha256"] if "lfs" in found else found["oid"]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            hub.gets.append((name, asked))
            self._send(name, content[start:])

    def _send(self, name: str, content: bytes) -> None:
        hub = self.server_hub
        cuts = hub.cuts.get(name)
        if cuts:
            self.wfile.write(content[: cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content[:-1])
        self.wfile.flush()
        if not hub.hold.is_set():
            hub.held.set()
            hub.hold.wait(60)
        self.wfile.write(content[-1:])

    def _json(self, value: object, status: int = 200, more: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, text in (more or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
