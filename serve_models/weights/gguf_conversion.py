"""Converts a GGUF file to a safetensors checkpoint, dequantized to bfloat16."""

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock


class ConversionError(RuntimeError):
    """A GGUF file cannot be converted."""


def find_gguf_file(files: Iterable[PurePosixPath]) -> PurePosixPath | None:
    found = [file for file in files if file.suffix == ".gguf"]
    return found[0] if len(found) == 1 else None


def convert_gguf(gguf: Path, target: Path) -> Path:
    """Convert a GGUF file into the directory ``target``, unless that exists, and return it.

    ``target`` gets weights, tokenizer and chat template. If several processes convert the same
    file, one works and the others wait. An interrupted conversion leaves no checkpoint. Raises
    ``ConversionError`` if a package is missing, or Transformers cannot read the file.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                converted = Path(scratch) / "model"
                _write_checkpoint(gguf, converted)
                converted.rename(target)
    return target


def _write_checkpoint(gguf: Path, directory: Path) -> None:
    # Only a conversion needs these, and they take seconds to import.
    try:
        import accelerate  # noqa: F401, PLC0415 -- Transformers needs it to dequantize
        import gguf as gguf_library  # noqa: F401, PLC0415 -- the same
        import torch  # noqa: PLC0415
        from transformers import (  # noqa: PLC0415
            AutoModelForCausalLM,
            AutoTokenizer,
            GgufConfig,
        )
        from transformers import (  # noqa: PLC0415
            modeling_gguf_pytorch_utils as library_conversion,
        )
        from transformers.utils import logging as library_logging  # noqa: PLC0415
    except ImportError as error:
        raise ConversionError(
            f"{gguf.name} must be converted to safetensors, which takes the package {error.name}; "
            "install headrace[cpu] or headrace[gpu]"
        ) from error
    folder = str(gguf.parent)
    # Progress bars would go into a replica's log. The bar over the tensors obeys no setting. Any:
    # the modules have no annotations.
    progress: Any = library_logging
    conversion: Any = library_conversion
    had_bars, tensor_bar = progress.is_progress_bar_enabled(), conversion.tqdm
    progress.disable_progress_bar()
    conversion.tqdm = partial(tensor_bar, disable=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    except (ValueError, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise ConversionError(f"{gguf.name} cannot be converted to safetensors: {error}") from error
    finally:
        conversion.tqdm = tensor_bar
        if had_bars:
            progress.enable_progress_bar()
