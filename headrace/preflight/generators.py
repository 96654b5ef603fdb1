"""Whether vLLM takes the generators' arguments, by its own parser in another process."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headrace.preflight.findings import Finding
from schemas.settings.file import Settings
from schemas.settings.live import plain
from schemas.settings.models import GeneratorSettings
from schemas.settings.sources import engine_sources

_MODULE = "serve_models.generation.rehearsal"
TIMEOUT_S = 180.0
_INSTALL = "pip install 'headrace[cpu]', or 'headrace[gpu]' on a machine with a GPU"
_LAST_LINES = 3


def generators_of(settings: Settings) -> dict[str, GeneratorSettings]:
    models = settings.called_models
    return {name: each for name, each in models.items() if isinstance(each, GeneratorSettings)}


def look_at_generators(settings: Settings, weights: Mapping[str, Path]) -> list[Finding]:
    """Return a finding for each generator; takes some ten seconds, unless there is none.

    ``weights`` are the directories of sources that are here.
    """
    generators = generators_of(settings)
    if not generators:
        return []
    if find_spec("vllm") is None:
        return [
            Finding("error", "vLLM", f"models.{name}", "vLLM is not installed here", _INSTALL)
            for name in generators
        ]
    asked = {name: _asked(model, weights) for name, model in generators.items()}
    try:
        answers = _rehearse(asked)
    except _NoAnswerError as error:
        return [
            Finding("warning", "vLLM", f"models.{name}.engine_args", f"not tried: {error}")
            for name in generators
        ]
    return [rehearsal_finding(name, answer) for name, answer in answers.items()]


def rehearsal_finding(name: str, answer: Mapping[str, Any]) -> Finding:
    where = f"models.{name}"
    if answer["problem"]:
        # Messages of the engine's settings name the setting and the fix.
        field, _, says = str(answer["problem"]).partition(": ")
        return Finding("error", "vLLM", f"{where}.{field}", says)
    if answer["unseen"]:
        return Finding("warning", "vLLM", f"{where}.engine_args", str(answer["unseen"]))
    facts = ", ".join(f"{key} {value}" for key, value in answer["facts"].items())
    return Finding("ok", "vLLM", f"{where}.engine_args", facts)


class _NoAnswerError(Exception):
    pass


def _asked(model: GeneratorSettings, weights: Mapping[str, Path]) -> dict[str, Any]:
    adapters = {name: weights.get(source) for name, source in model.adapters.items()}
    # Without an adapter the rest is tried all the same: that it is missing is told elsewhere.
    here = {name: str(folder) for name, folder in adapters.items() if folder is not None}
    directory = weights.get(model.source)
    return {
        "settings": plain(model),
        "model": None if directory is None else str(directory),
        "adapters": here,
        "named": {
            each.field: str(weights[each.source])
            for each in engine_sources(model.engine_args)
            if each.source in weights
        },
    }


def _rehearse(asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        result = Path(folder) / "rehearsed.json"
        try:
            # vLLM prints what it likes, so the answer goes into a file.
            ended = subprocess.run(  # noqa: S603 - our own module
                [sys.executable, "-m", _MODULE, str(result)],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _NoAnswerError(f"vLLM has not answered within {TIMEOUT_S:g} s") from None
        if not result.is_file():
            said = " ".join(ended.stderr.strip().splitlines()[-_LAST_LINES:])
            raise _NoAnswerError(f"vLLM ended with {ended.returncode}: {said}")
        answers: dict[str, dict[str, Any]] = json.loads(result.read_text(encoding="utf-8"))
        return answers
