"""vLLM's own offline call: ``LLM.generate`` over all requests in one process.

Run as ``python -m benchmarks.baselines.offline_generate``: prints output tokens a second as one
JSON line, of all files of requests together and of each.
"""

import argparse
import json
import os
import time
from pathlib import Path

WARM_UP_REQUESTS = 16


def main() -> None:
    """Read the command line, load, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--engine-args", type=json.loads, required=True, help="a JSON object")
    parser.add_argument("--kv-cache-gib", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument(
        "--requests",
        type=Path,
        required=True,
        action="append",
        help="a JSON object of prompts and tokens; several files are run one after the other",
    )
    arguments = parser.parse_args()
    # vLLM reads these when it is imported.
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(arguments.kv_cache_gib)))
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{arguments.threads - 1}"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - after its environment is set

    engine = LLM(model=arguments.model, disable_log_stats=True, **arguments.engine_args)
    each: list[float] = []
    all_tokens, all_s = 0, 0.0
    for file in arguments.requests:
        asked = json.loads(file.read_text())
        sampling = [
            SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
            for tokens in asked["tokens"]
        ]
        engine.generate(
            asked["prompts"][:WARM_UP_REQUESTS], sampling[:WARM_UP_REQUESTS], use_tqdm=False
        )
        started_s = time.perf_counter()  # noqa: TID251 - a measurement
        outputs = engine.generate(asked["prompts"], sampling, use_tqdm=False)
        wall_s = time.perf_counter() - started_s  # noqa: TID251 - a measurement
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        if tokens != sum(asked["tokens"]):
            raise SystemExit(
                f"generated {tokens} tokens where {sum(asked['tokens'])} were asked for"
            )
        each.append(tokens / wall_s)
        all_tokens, all_s = all_tokens + tokens, all_s + wall_s
    print(json.dumps({"tokens_per_s": all_tokens / all_s, "tokens": all_tokens, "each": each}))


if __name__ == "__main__":
    main()
