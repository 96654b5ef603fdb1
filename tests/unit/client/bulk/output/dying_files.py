"""A file system on which the process is killed, or the power fails, at an operation of choice."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_client.bulk.output.files import Files, FileSink


class Killed(BaseException):
    """The process is no more: nothing that follows in it changes a file."""


@dataclass
class _File:
    durable: bytes = b""


@dataclass
class _Directory:
    live: dict[str, "_File | _Directory"] = field(default_factory=dict)
    durable: dict[str, "_File | _Directory"] = field(default_factory=dict)


class DyingFiles(Files):
    """Dies before (a write: in the middle of) the operation that ``dies_at`` counts to.

    ``power_fails()`` then leaves what had been synced, and nothing else.
    """

    def __init__(self, root: Path, dies_at: int | None = None) -> None:
        self.operations = 0
        self._dies_at = dies_at
        self._root = root
        self._tree = _Directory()
        self._adopt(root, self._tree)

    @property
    def is_dead(self) -> bool:
        return self._dies_at is not None and self.operations >= self._dies_at

    def step(self) -> None:
        if self.is_dead:
            raise Killed
        self.operations += 1
        if self.is_dead:
            raise Killed

    def power_fails(self) -> None:
        for each in self._root.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        self._restore(self._root, self._tree)

    def create(self, path: Path) -> FileSink:
        self.step()
        directory = self._directory(path.parent)
        # Truncating keeps the file; its old bytes may still be there after a power failure.
        node = directory.live.setdefault(path.name, _File())
        return _DyingSink(path, node, self, truncate=True)

    def open(self, path: Path) -> FileSink:
        self.step()
        node = self._directory(path.parent).live.setdefault(path.name, _File())
        return _DyingSink(path, node, self, truncate=False)

    def make_directory(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            self.step()
            each.mkdir()
            self._directory(each.parent).live[each.name] = _Directory()
            self.sync_directory(each.parent)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        super().replace(source, target)
        node = self._directory(source.parent).live.pop(source.name)
        self._directory(target.parent).live[target.name] = node

    def link(self, source: Path, target: Path) -> None:
        self.step()
        super().link(source, target)
        self._directory(target.parent).live[target.name] = self._directory(source.parent).live[
            source.name
        ]

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)
        if path.parent.exists():
            self._directory(path.parent).live.pop(path.name, None)

    def remove_tree(self, path: Path) -> None:
        if not path.exists():
            return
        for each in sorted(path.rglob("*"), reverse=True):
            if each.is_file():
                self.remove(each)
        self.step()
        super().remove_tree(path)
        self._directory(path.parent).live.pop(path.name, None)

    def sync_directory(self, path: Path) -> None:
        self.step()
        directory = self._directory(path)
        directory.durable = dict(directory.live)

    def sync_tree(self, path: Path) -> None:
        self.step()
        node = _Directory()
        self._adopt(path, node)
        self._directory(path.parent).live[path.name] = node

    def _directory(self, path: Path) -> _Directory:
        node: Any = self._tree
        for name in path.relative_to(self._root).parts:
            node = node.live[name]
        assert isinstance(node, _Directory)
        return node

    def _adopt(self, path: Path, node: _Directory) -> None:
        for each in path.iterdir():
            if each.is_dir():
                child = _Directory()
                self._adopt(each, child)
                node.live[each.name] = child
            else:
                node.live[each.name] = _File(each.read_bytes())
        node.durable = dict(node.live)

    def _restore(self, path: Path, node: _Directory) -> None:
        for name, child in node.durable.items():
            if isinstance(child, _Directory):
                (path / name).mkdir()
                self._restore(path / name, child)
            else:
                (path / name).write_bytes(child.durable)


class _DyingSink(FileSink):
    def __init__(
        self, path: Path, node: "_File | _Directory", files: DyingFiles, *, truncate: bool
    ) -> None:
        super().__init__(path, truncate=truncate)
        self._node = node
        self._files = files

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._step(lambda: super(_DyingSink, self).write_at(offset, data[: len(data) // 2]))
        super().write_at(offset, data)

    def copy(self, source: Path, offset: int = 0) -> None:
        self._step(lambda: super(_DyingSink, self).write_at(self.size, b"half"))
        super().copy(source, offset)

    def truncate(self, size: int) -> None:
        self._step(lambda: None)
        super().truncate(size)

    def sync(self) -> None:
        # The model stands for the disk: a real fsync would only take time.
        self._step(lambda: None)
        assert isinstance(self._node, _File)
        self._node.durable = self.path.read_bytes()

    def _step(self, half: Any) -> None:
        was_dead = self._files.is_dead
        try:
            self._files.step()
        except Killed:
            if not was_dead:
                half()
            raise
