"""The device that a model runs on, and the CPU threads that a batch gets."""

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
    """Let what the calling thread runs use ``threads`` CPU threads; other threads keep theirs."""
    # torch sets up each thread at its first operation, with the number last set by any thread;
    # asking for the number is enough of an operation, and must come before ours is set.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def bound_tokenizer_threads(
    threads: int, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let tokenizers written in Rust use ``threads`` threads; call it before the first of them.

    They take one for each of the machine's CPUs otherwise, in each replica.
    """
    environment.setdefault("RAYON_NUM_THREADS", str(threads))
