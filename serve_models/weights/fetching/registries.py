"""An OCI registry, as far as pulling needs it: manifests, ranges of blobs, tokens.

Own code: the Python clients there are read neither digests in references nor parts of a blob,
without which nothing is pinned or resumed.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from serve_models.weights.references import ModelSourceError

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MOST_MANIFEST_BYTES = 4 * 1024 * 1024
_TIMEOUT_S = 60.0
_REFUSALS = {
    httpx2.codes.UNAUTHORIZED,
    httpx2.codes.FORBIDDEN,
    httpx2.codes.NOT_FOUND,
}
_HOSTS = {"docker.io": "registry-1.docker.io"}
_DOCKER_HUB_ENTRY = "https://index.docker.io/v1/"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Registry:
    """Reads one repository; used by several threads. Close it after use.

    Credentials are those of Docker's configuration file (``$DOCKER_CONFIG``, or ``~/.docker``).
    Helpers that it names are not run. Registries on this machine are spoken to without TLS.
    """

    def __init__(self, repository: str) -> None:
        self.host, _, self.name = repository.partition("/")
        if self.host == "docker.io" and "/" not in self.name:
            self.name = f"library/{self.name}"
        host = _HOSTS.get(self.host, self.host)
        bare = host.partition(":")[0]
        scheme = "http" if bare in {"localhost", "127.0.0.1"} else "https"
        self._base = f"{scheme}://{host}/v2/{self.name}"
        self._basic = _credentials(self.host)
        self._authorization: str | None = None
        self._lock = threading.Lock()
        # It drops the token where a redirect leads to another host, as a store of blobs.
        self._client = httpx2.Client(follow_redirects=True, timeout=_TIMEOUT_S)

    def close(self) -> None:
        self._client.close()

    def manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """Return the manifest of a tag or digest, and its digest.

        Of an index it is the one of this platform, or else the first. Raises ``ModelSourceError``.
        """
        found, digest = self._manifest(reference)
        if found.get("mediaType") in INDEXES or "manifests" in found:
            found, digest = self._manifest(_choose(found.get("manifests", [])))
        if not isinstance(found.get("layers"), list):
            raise ModelSourceError(f"source: oci:{self.host}/{self.name}: has no layers")
        return found, digest

    def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        accepted = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        url = f"{self._base}/manifests/{reference}"
        _, content = self._get(url, accepted, _MOST_MANIFEST_BYTES)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise ModelSourceError(f"source: the registry answered {reference} with other bytes")
        try:
            found = json.loads(content)
        except ValueError as error:
            raise ModelSourceError(
                f"source: the manifest {reference} is no JSON: {error}"
            ) from None
        if not isinstance(found, dict):
            raise ModelSourceError(f"source: the manifest {reference} is no JSON object")
        return found, digest

    def read_blob(self, digest: str, start: int, end: int) -> bytes:
        """Return a range of a blob; raises ``OSError`` and the HTTP client's, to be tried again."""
        url = f"{self._base}/blobs/{digest}"
        asked = {"Range": f"bytes={start}-{end - 1}"}
        status, content = self._get(url, asked, end - start)
        if status != httpx2.codes.PARTIAL_CONTENT and start:
            raise ModelSourceError(f"source: {self.host} sends blobs only whole, without ranges")
        return content

    def _get(self, url: str, headers: Mapping[str, str], most_bytes: int) -> tuple[int, bytes]:
        """Return the status and at most ``most_bytes`` of the content."""
        for may_log_in in (True, False):
            with self._client.stream("GET", url, headers=self._with_token(headers)) as answer:
                if answer.status_code == httpx2.codes.UNAUTHORIZED and may_log_in:
                    challenge = answer.headers.get("www-authenticate", "")
                elif answer.status_code in _REFUSALS:
                    raise ModelSourceError(
                        f"source: {self.host} answers {answer.status_code} for {url}; check the "
                        "name, and the credentials in $DOCKER_CONFIG/config.json"
                    )
                else:
                    if not answer.is_success:
                        raise OSError(f"{self.host} answers {answer.status_code}")
                    return answer.status_code, _read(answer, most_bytes)
            self._log_in(challenge)
        raise AssertionError("the second answer returns or raises. This is a bug.")

    def _with_token(self, headers: Mapping[str, str]) -> dict[str, str]:
        if self._authorization is None:
            return dict(headers)
        return {**headers, "Authorization": self._authorization}

    def _log_in(self, challenge: str) -> None:
        """Take up what a 401 asks for: the credentials themselves, or a token for them."""
        scheme, _, rest = challenge.partition(" ")
        basic = None if self._basic is None else f"Basic {self._basic}"
        if scheme.lower() != "bearer":
            self._authorization = basic
            return
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.pop("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise ModelSourceError(f"source: {self.host} names no realm to log in at")
        if realm.startswith("http://") and self._base.startswith("https://"):
            raise ModelSourceError(f"source: {self.host} wants credentials without TLS, at {realm}")
        parameters.setdefault("scope", f"repository:{self.name}:pull")
        with self._lock:
            answer = self._client.get(
                realm, params=parameters, headers={"Authorization": basic} if basic else {}
            )
            if answer.status_code != httpx2.codes.OK:
                raise ModelSourceError(
                    f"source: {self.host} refuses a token ({answer.status_code}); check the "
                    "credentials in $DOCKER_CONFIG/config.json"
                )
            values = answer.json()
            self._authorization = f"Bearer {values.get('token') or values.get('access_token')}"


def _read(answer: httpx2.Response, most_bytes: int) -> bytes:
    """Read what a registry may send, and no more of what it should not."""
    pieces, taken_bytes = [], 0
    for piece in answer.iter_bytes():
        pieces.append(piece)
        taken_bytes += len(piece)
        if taken_bytes >= most_bytes:
            break
    return b"".join(pieces)[:most_bytes]


def _choose(manifests: list[dict[str, Any]]) -> str:
    usable = [
        each
        for each in manifests
        # Build tools add attestations, of no platform.
        if each.get("platform", {}).get("os", "linux") != "unknown"
    ]
    if not usable:
        raise ModelSourceError("source: the image's index has no manifests")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    for each in usable:
        if each.get("platform", {}).get("architecture") == architecture:
            return str(each["digest"])
    return str(usable[0]["digest"])


def _credentials(host: str) -> str | None:
    """Return what Docker's configuration has for a registry: base64 of ``USER:PASSWORD``."""
    configured = os.environ.get("DOCKER_CONFIG")
    file = (Path(configured) if configured else Path.home() / ".docker") / "config.json"
    try:
        entries = json.loads(file.read_bytes()).get("auths", {})
    except (OSError, ValueError, AttributeError):
        return None
    names = [host, f"https://{host}"] + ([_DOCKER_HUB_ENTRY] if host == "docker.io" else [])
    for name in names:
        entry = entries.get(name)
        if not isinstance(entry, dict):
            continue
        if "username" in entry and "password" in entry:
            pair = f"{entry['username']}:{entry['password']}"
            return base64.b64encode(pair.encode()).decode()
        try:
            base64.b64decode(entry.get("auth") or "!", validate=True)
        except (binascii.Error, ValueError):
            continue
        return str(entry["auth"])
    return None
