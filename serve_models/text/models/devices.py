"""Chooses a model's device, and the CPU threads of a batch."""

import os
from collections.abc import MutableMapping

import torch


def choose_device(device: str) -> str:
    """Return torch's name of the settings' device; ``auto`` is the best one here."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def use_threads(threads: int) -> None:
    """Set the CPU threads of the calling thread's work; other threads keep theirs."""
    # torch sets up each thread at its first operation, with the number that any thread set last.
    # Reading the number is such an operation, and must come before ours is set.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def bound_tokenizer_threads(
    threads: int, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Limit tokenizers written in Rust to ``threads`` threads; call it before the first of them.

    Otherwise each replica's take one for each of the machine's CPUs.
    """
    environment.setdefault("RAYON_NUM_THREADS", str(threads))
