"""A device's queues of work: CUDA's streams, or none."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch


class Streams(Protocol):
    """Orders the copies and the computation of slots.

    Attributes:
        pins: Whether host buffers must be pinned, so that copies run beside the host.
    """

    pins: bool

    def uploading(self, slot: int) -> AbstractContextManager[None]:
        """Queue what is done within among the copies to the device."""
        ...

    def computing(self, slot: int) -> AbstractContextManager[None]:
        """Queue what is done within behind the slot's copy and the batches before."""
        ...

    def wait(self, slot: int) -> None:
        """Return when the slot's batch is done."""
        ...

    def wait_for_all(self) -> None:
        """Return when nothing is under way."""
        ...


class HostStreams:
    """For a device that computes when it is told to: nothing is queued."""

    pins = False

    @contextmanager
    def uploading(self, _slot: int) -> Iterator[None]:
        yield

    @contextmanager
    def computing(self, _slot: int) -> Iterator[None]:
        yield

    def wait(self, _slot: int) -> None:
        pass

    def wait_for_all(self) -> None:
        pass


class CudaStreams:
    """A stream for copies to the device, and one that computes and copies back.

    Copies back are on the second, behind the computation that they need: on the first, the next
    batch's copy would wait behind them.
    """

    pins = True

    def __init__(self, device: torch.device, slots: int) -> None:
        # Any: torch's classes have no annotations.
        cuda: Any = torch.cuda
        self._copies = cuda.Stream(device)
        self._computes = cuda.Stream(device)
        # Blocking: the waiting thread sleeps, and leaves its CPU to the others.
        self._uploaded = [cuda.Event(blocking=True) for _ in range(slots)]
        self._done = [cuda.Event(blocking=True) for _ in range(slots)]
        # The weights were copied on the device's default stream.
        torch.cuda.synchronize(device)

    @contextmanager
    def uploading(self, slot: int) -> Iterator[None]:
        with torch.cuda.stream(self._copies):
            yield
            self._uploaded[slot].record(self._copies)

    @contextmanager
    def computing(self, slot: int) -> Iterator[None]:
        with torch.cuda.stream(self._computes):
            self._computes.wait_event(self._uploaded[slot])
            yield
            self._done[slot].record(self._computes)

    def wait(self, slot: int) -> None:
        self._done[slot].synchronize()

    def wait_for_all(self) -> None:
        self._copies.synchronize()
        self._computes.synchronize()
