"""The library's own offline call: ``SentenceTransformer.encode`` over all texts in one process.

Run as ``python -m benchmarks.baselines.offline_encode``: prints texts a second as one JSON line.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 32
WARM_UP_TEXTS = 128


def load_model(
    directory: str, dtype: str, threads: int, device: str = "cpu"
) -> SentenceTransformer:
    """Load a model as its own documentation says.

    Args:
        directory: The model's files.
        dtype: A torch dtype's name.
        threads: Threads for torch.
        device: torch's name of the device.
    """
    torch.set_num_threads(threads)
    return SentenceTransformer(
        directory, device=device, model_kwargs={"dtype": getattr(torch, dtype)}
    )


def main() -> None:
    """Read the command line, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list of texts")
    parser.add_argument("--batch-texts", type=int, default=BATCH_TEXTS)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    texts: list[str] = json.loads(arguments.texts.read_text())
    model = load_model(arguments.model, arguments.dtype, arguments.threads, arguments.device)
    model.encode(texts[:WARM_UP_TEXTS], batch_size=arguments.batch_texts)
    started_s = time.perf_counter()  # noqa: TID251 - a measurement
    model.encode(texts, batch_size=arguments.batch_texts)
    wall_s = time.perf_counter() - started_s  # noqa: TID251 - a measurement
    print(json.dumps({"texts_per_s": len(texts) / wall_s, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
