"""The adapters of one replica: loads and unloads them while requests run. No vLLM, no Ray here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from serve_models.generation.adapters.checkpoint import (
    AdapterCheckpoint,
    AdapterError,
    read_checkpoint,
)
from serve_models.generation.adapters.room import AdapterRoom, check_adapter
from serve_models.weights.sources import ModelSourceError

log = logging.getLogger(__name__)


class UnknownAdapterError(LookupError):
    """No adapter has this name."""


class AdapterEngine(Protocol):
    """What loads weights; ``key`` is never used twice."""

    async def load(self, key: str, directory: Path) -> None:
        """Load an adapter; raises ``AdapterError`` if the engine refuses it."""
        ...

    async def unload(self, key: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Loaded:
    source: str
    key: str
    requests: int = 0
    is_retired: bool = False


class Adapters:
    """Which adapters a replica has, by the name that requests use.

    An adapter that is removed or replaced takes no new requests, and leaves the engine when its
    last one has ended; requests of other names notice nothing.

    Args:
        engine: Loads and unloads.
        room: What the engine has room for; ``None`` if it takes no adapters.
        served_names: The model's own names.
        find: Returns the directory of a source on this machine; may block. Raises
            ``ModelSourceError``.
    """

    def __init__(
        self,
        engine: AdapterEngine,
        room: AdapterRoom | None,
        served_names: Collection[str],
        find: Callable[[str], Path],
    ) -> None:
        self._engine = engine
        self._room = room
        self._served_names = frozenset(served_names)
        self._find = find
        self._wanted: dict[str, str] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._leaving: set[_Loaded] = set()
        self._problems: dict[str, str] = {}
        self._numbers = count(1)
        self._changing = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._wanted)

    @property
    def loaded(self) -> dict[str, str]:
        """The sources of what requests can use, by name."""
        return {name: each.source for name, each in self._loaded.items()}

    @property
    def problems(self) -> dict[str, str]:
        """Why adapters that should be here cannot be used, by name."""
        return dict(self._problems)

    async def apply(self, wanted: Mapping[str, str]) -> None:
        """Make ``wanted``, sources by name, what this replica has.

        One that cannot be loaded is among ``problems``; the others are there all the same.
        """
        async with self._changing:
            self._wanted = dict(wanted)
            self._problems = {}
            for name in [each for each in self._loaded if each not in wanted]:
                await self._retire(self._loaded.pop(name))
            for name, source in wanted.items():
                if name in self._loaded and self._loaded[name].source == source:
                    continue
                try:
                    fresh = await self._load(name, source)
                except (AdapterError, ModelSourceError) as error:
                    self._problems[name] = str(error)
                    log.warning(
                        "adapters.%s: %s",
                        name,
                        error,
                        extra={
                            "event": "adapter_not_loaded",
                            "adapter": name,
                            "error_class": type(error).__name__,
                        },
                    )
                    fresh = None
                # Also if the new one cannot be used: nobody asked for the old one's answers.
                if (old := self._loaded.pop(name, None)) is not None:
                    await self._retire(old)
                if fresh is not None:
                    self._loaded[name] = fresh

    async def check(self, name: str, source: str) -> None:
        """Raise ``AdapterError`` or ``ModelSourceError`` if this replica could not load it."""
        checkpoint = await self._read(source)
        self._check(name, checkpoint)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[str]:
        """Keep an adapter loaded for one request, and yield its key in the engine.

        Waits for one that is being loaded. Raises ``UnknownAdapterError`` for a name that the
        settings do not have, ``AdapterError`` if it could not be loaded.
        """
        if name not in self._wanted:
            raise UnknownAdapterError(name)
        if name not in self._loaded and name not in self._problems:
            async with self._changing:
                pass
        adapter = self._loaded.get(name)
        if adapter is None:
            if name not in self._wanted:
                raise UnknownAdapterError(name)
            raise AdapterError(f"adapters.{name}: {self._problems[name]}")
        adapter.requests += 1
        try:
            yield adapter.key
        finally:
            adapter.requests -= 1
            if adapter.is_retired and not adapter.requests:
                # Not awaited: the request is over, and may be ending because it was cancelled.
                task = asyncio.get_running_loop().create_task(self._unload(adapter))
                self._unloading.add(task)
                task.add_done_callback(self._unloading.discard)

    async def _read(self, source: str) -> AdapterCheckpoint:
        directory = await asyncio.to_thread(self._find, source)
        return await asyncio.to_thread(read_checkpoint, directory)

    def _check(self, name: str, checkpoint: AdapterCheckpoint) -> None:
        # One that leaves, or is to be replaced, still has its place.
        kept = len(self._loaded) + len(self._leaving)
        check_adapter(name, checkpoint, self._room, kept=kept, served_names=self._served_names)

    async def _load(self, name: str, source: str) -> _Loaded:
        checkpoint = await self._read(source)
        self._check(name, checkpoint)
        # A key of its own, also for a name that comes back: vLLM caches prompts by it.
        key = f"{name}#{next(self._numbers)}"
        await self._engine.load(key, checkpoint.directory)
        log.info(
            "adapters.%s: loaded %s",
            name,
            source,
            extra={"event": "adapter_loaded", "adapter": name, "source": source},
        )
        return _Loaded(source, key)

    async def _retire(self, adapter: _Loaded) -> None:
        adapter.is_retired = True
        self._leaving.add(adapter)
        if not adapter.requests:
            await self._unload(adapter)

    async def _unload(self, adapter: _Loaded) -> None:
        await self._engine.unload(adapter.key)
        self._leaving.discard(adapter)
