"""The page's files, as they stand in the package."""

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def page_files() -> dict[str, bytes]:
    """Return the files of the page by their path below it."""
    return dict(_files(files("headrace.console").joinpath("page"), ""))


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files(each, f"{path}{each.name}/")
        elif _suffix(each.name) in TYPES:
            yield f"{path}{each.name}", each.read_bytes()


def page_routes() -> list[Route]:
    routes = [Route("/", _endpoint(INDEX))]
    routes += [Route(f"/{name}", _endpoint(name)) for name in page_files() if name != INDEX]
    return routes


def _endpoint(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = page_files()[name]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    # Looked at again at each visit: after an upgrade nobody has half of an old page.
    headers = {
        "content-type": TYPES[_suffix(name)],
        "etag": tag,
        "cache-control": "no-cache",
        "vary": "accept-encoding",
    }
    packed = gzip.compress(content, mtime=0)

    async def get(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, headers={**headers, "content-encoding": "gzip"})
        return Response(content, headers=headers)

    return get


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
