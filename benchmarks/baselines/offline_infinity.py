"""infinity-emb's engine over all texts in one process, without its HTTP server.

Run as ``python -m benchmarks.baselines.offline_infinity``: prints texts a second as one JSON line.
"""

import argparse
import asyncio
import json
import time
from importlib import import_module
from pathlib import Path

BATCH_TEXTS = 256
WARM_UP_TEXTS = 1_024


async def texts_per_s(model: str, dtype: str, device: str, texts: list[str]) -> float:
    """Load, warm up and measure."""
    # Optional, and not installed where types are checked.
    infinity = import_module("infinity_emb")
    engine = infinity.AsyncEmbeddingEngine.from_args(
        infinity.EngineArgs(
            model_name_or_path=model,
            engine="torch",
            device=device,
            dtype=dtype,
            batch_size=BATCH_TEXTS,
            model_warmup=True,
        )
    )
    await engine.astart()
    try:
        await engine.embed(sentences=texts[:WARM_UP_TEXTS])
        started_s = time.perf_counter()  # noqa: TID251 - a measurement
        await engine.embed(sentences=texts)
        return len(texts) / (time.perf_counter() - started_s)  # noqa: TID251 - a measurement
    finally:
        await engine.astop()


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list of texts")
    arguments = parser.parse_args()
    texts: list[str] = json.loads(arguments.texts.read_text())
    rate = asyncio.run(texts_per_s(arguments.model, arguments.dtype, arguments.device, texts))
    print(json.dumps({"texts_per_s": rate}))


if __name__ == "__main__":
    main()
