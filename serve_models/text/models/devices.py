"""Chooses a model's device, and the CPU threads of a batch."""

import logging
import os
from collections.abc import MutableMapping

import torch

logger = logging.getLogger(__name__)


def choose_device(device: str, *, has_gpu: bool) -> str:
    """Return torch's name of the settings' device; ``auto`` is the best one that is ours.

    ``has_gpu`` says whether Ray gave this replica a GPU. Those of others are visible too.
    """
    if device != "auto":
        return device
    if has_gpu:
        if torch.cuda.is_available():
            return "cuda"
        logger.warning(
            "num_gpus: Ray gave this replica a GPU, and PyTorch (%s) finds none that it can use: "
            "install its CUDA build (make install GPU=1), or set num_gpus to 0",
            torch.__version__,
            extra={"event": "gpu_not_usable"},
        )
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
