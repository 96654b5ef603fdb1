"""Files of Secrets in pods: one volume a folder, whatever Secrets its files come from. Pure.

Kubernetes refuses two mounts at one path, so files of Kafka, of the console and of traces that lie
in one folder come by one projected volume.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import UserError


class SecretFile(NamedTuple):
    """A key of a Secret, and where the settings look for it.

    Attributes:
        setting: What names the file.
        is_optional: Whether pods start without it.
    """

    setting: str
    path: Path
    secret: str
    key: str
    is_optional: bool = False


def mounts(files: Sequence[SecretFile]) -> list[dict[str, Any]]:
    return [
        {"name": name, "mountPath": str(folder), "readOnly": True}
        for name, folder, _files in _volumes(files)
    ]


def volumes(files: Sequence[SecretFile]) -> list[dict[str, Any]]:
    return [{"name": name, **_source(of_folder)} for name, _folder, of_folder in _volumes(files)]


def check_places(files: Sequence[SecretFile], taken: Collection[str]) -> None:
    """Raise ``UserError`` for a file whose place is another's, or in a folder of ``taken``.

    A path that several settings name is one file if its key is one: the CA of two clusters.
    """
    at: dict[Path, SecretFile] = {}
    for file in files:
        if not file.path.is_absolute():
            raise UserError(f"{file.setting}: {file.path} must be absolute, to be mounted there")
        if str(file.path.parent) in taken:
            raise UserError(
                f"{file.setting}: {file.path.parent} is mounted already; name a folder of its own, "
                f"such as {file.path.parent / 'secrets'}"
            )
        other = at.setdefault(file.path, file)
        if other.key != file.key:
            raise UserError(
                f"{file.setting}: {file.path} is {other.setting} already; name another file"
            )


def _volumes(files: Sequence[SecretFile]) -> list[tuple[str, Path, list[SecretFile]]]:
    by_folder: dict[Path, dict[Path, SecretFile]] = {}
    for file in files:
        by_folder.setdefault(file.path.parent, {}).setdefault(file.path, file)
    return [
        (_name(number, list(of_folder.values())), folder, list(of_folder.values()))
        for number, (folder, of_folder) in enumerate(by_folder.items())
    ]


def _name(number: int, files: Sequence[SecretFile]) -> str:
    section = files[0].setting.partition(".")[0].replace("_", "-")
    return "kafka-ca" if number == 0 and section == "kafka" else f"{section}-{number}"


def _source(files: Sequence[SecretFile]) -> dict[str, Any]:
    by_secret: dict[tuple[str, bool], list[dict[str, str]]] = {}
    for file in files:
        item = {"key": file.key, "path": file.path.name}
        by_secret.setdefault((file.secret, file.is_optional), []).append(item)
    found = []
    for (secret, is_optional), items in by_secret.items():
        found.append((secret, {"items": items, **({"optional": True} if is_optional else {})}))
    if len(found) == 1:
        [(secret, source)] = found
        return {"secret": {"secretName": secret, **source}}
    sources = [{"secret": {"name": secret, **source}} for secret, source in found]
    return {"projected": {"sources": sources}}
