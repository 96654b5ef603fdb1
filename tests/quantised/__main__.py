"""Which quantised checkpoints vLLM runs on this machine: ``python -m tests.quantised [KIND…]``.

Each kind takes an engine of its own, a minute or less. Exits 1 if one that docs/models.md says to
run here does not, or the other way round.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import orjson

from schemas.settings.models import GeneratorSettings
from serve_models.generation.engine_process import set_engine_environment
from serve_models.generation.quantization import read_quantization
from tests.quantised.checkpoints import METHODS, write_quantised
from tests.scripted_checkpoint import SCRIPT

PROMPT = "[reason]"


async def run(kind: str, folder: Path) -> str:
    """Have a question answered; return the answer."""
    write_quantised(folder, kind)
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"path:{folder}",
            "num_cpus": os.cpu_count(),
            "cpu_kv_cache_gib": 0.05,
            "engine_args": {"max_model_len": 64, "max_num_seqs": 4, "dtype": "bfloat16"},
        }
    )
    set_engine_environment(settings)
    from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- reads the environment

    engine = await VllmEngine.start(settings, name="chat", model=folder, adapters={})
    try:
        body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 16}
        answer = await engine.answer("/v1/completions", body)
        text: str = orjson.loads(answer.body)["choices"][0]["text"]
        return text
    finally:
        engine.shut_down()


def is_as_said(kind: str) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            said = asyncio.run(run(kind, Path(scratch)))
        except Exception as error:  # noqa: BLE001 -- whatever vLLM raises, it does not run
            said = f"{type(error).__name__}: {error}"
        found = read_quantization(json.loads((Path(scratch) / "config.json").read_text()))
    runs = said == "".join(SCRIPT[PROMPT])
    expected = found is not None and found.on_cpu is None
    verdict = "runs" if runs else "does not run"
    remark = "" if runs == expected else "NOT AS SAID: "
    sys.stdout.write(f"{kind:6} {verdict:12} {remark}{said[-300:]}\n")
    sys.stdout.flush()
    return runs == expected


if __name__ == "__main__":
    unlike = [kind for kind in sys.argv[1:] or METHODS if not is_as_said(kind)]
    sys.exit(1 if unlike else 0)
