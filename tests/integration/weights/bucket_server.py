"""As much of S3's and Google Cloud Storage's APIs as reading a prefix needs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from tests.integration.weights.local_http import served


class BucketServer:
    """One bucket, ``bucket``: objects by key, and the ranges that were read."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.ranges: list[tuple[str, str | None]] = []
        self.url = ""


@contextmanager
def running(bucket: BucketServer) -> Iterator[BucketServer]:
    class Handler(_Handler):
        bucket_server = bucket

    with served(Handler) as port:
        bucket.url = f"http://127.0.0.1:{port}"
        yield bucket


def md5_of(content: bytes) -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket_server: BucketServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if path.startswith(("/storage/v1/", "/download/storage/v1/")):
            self._google(path, asked)
        elif path.rstrip("/") == "/bucket":
            self._list(asked.get("prefix", ""))
        else:
            self._object(unquote(path.removeprefix("/bucket/")))

    def _list(self, prefix: str) -> None:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f"</LastModified><ETag>&quot;{md5_of(content).hexdigest()}&quot;</ETag>"
            f"<Size>{len(content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key, content in sorted(self.bucket_server.objects.items())
            if key.startswith(prefix)
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns='
            '"http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        )
        self._send(200, text.encode(), {"Content-Type": "application/xml"})

    def _object(self, key: str) -> None:
        content = self.bucket_server.objects.get(key)
        if content is None:
            self._send(404, b"", {})
            return
        self._content(key, content, {"ETag": f'"{md5_of(content).hexdigest()}"'})

    def _google(self, path: str, asked: dict[str, str]) -> None:
        objects = self.bucket_server.objects
        match = re.fullmatch(r"(/download)?/storage/v1/b/bucket/o(?:/(.+))?", path)
        if match is None:
            self._json({"name": "bucket"})
            return
        if match[2] is None:
            prefix = asked.get("prefix", "")
            self._json(
                {
                    "items": [
                        _google_entry(key, objects[key])
                        for key in objects
                        if key.startswith(prefix)
                    ]
                }
            )
            return
        key = unquote(match[2])
        if key not in objects:
            self._json({"error": {"code": 404, "message": "none"}}, 404)
        elif match[1] or asked.get("alt") == "media":
            self._content(key, objects[key], {})
        else:
            self._json(_google_entry(key, objects[key]))

    def _content(self, key: str, content: bytes, headers: dict[str, str]) -> None:
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.bucket_server.ranges.append((key, asked))
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if match is None:
            self._send(200, content, headers)
            return
        start, end = int(match[1]), int(match[2] or len(content) - 1) + 1
        where = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
        self._send(206, content[start:end], {**headers, "Content-Range": where})

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _google_entry(key: str, content: bytes) -> dict[str, str]:
    return {
        "kind": "storage#object",
        "name": key,
        "bucket": "bucket",
        "size": str(len(content)),
        "generation": "1",
        "etag": "CAE=",
        "contentType": "application/octet-stream",
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
        "md5Hash": base64.b64encode(md5_of(content).digest()).decode(),
    }
