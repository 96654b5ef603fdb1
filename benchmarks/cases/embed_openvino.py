"""``embed-openvino``: OpenVINO in int8 against PyTorch in float32, both as a service."""

from pathlib import Path

from benchmarks.cases.embed import embedder_settings, measure_service, texts_of, warm_up
from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.load import BenchmarkFailedError
from benchmarks.registry import Benchmark
from schemas.settings.models import EmbedderSettings
from serve_models.text.backends.loading import load_text_model
from serve_models.weights.sources import resolve

LEAST_COSINE = 0.99
"""The mean over the sample texts."""
_INT8_INSTRUCTIONS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def multiplies_in_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this CPU has instructions for products in int8."""
    try:
        content = cpuinfo.read_text()
    except OSError:
        return False
    return not _INT8_INSTRUCTIONS.isdisjoint(content.split())


def openvino_settings(context: Context) -> EmbedderSettings:
    """Return the settings of ``embed`` in float32, on OpenVINO."""
    settings = embedder_settings(context, "float32")
    return settings.model_copy(update={"backend": "openvino"})


def run(context: Context) -> Result:
    """Measure both backends, deployed in turn."""
    texts = texts_of(context)
    torch, openvino = embedder_settings(context, "float32"), openvino_settings(context)
    loaded = load_text_model(resolve(openvino.source), openvino, "cpu", "openvino")
    if loaded.agreement is None:
        raise BenchmarkFailedError("the converted model was not compared with its checkpoint")
    context.say(str(loaded.agreement))

    def measured(settings: EmbedderSettings) -> float:
        with context.stage.model(settings) as handle:
            warm_up(handle)
            return measure_service(context, settings, texts)

    series = context.interleave(lambda: measured(openvino), lambda: measured(torch))
    details = {
        "texts": len(texts),
        "threads": context.cpus,
        "multiplies_in_int8": multiplies_in_int8(),
        "agreement": loaded.agreement.to_dict(),
        "settings": openvino.model_dump(mode="json"),
    }
    return Result(
        series={"all": series}, details=details, holds=loaded.agreement.mean >= LEAST_COSINE
    )


BENCHMARK = Benchmark(
    name="embed-openvino",
    subject="openvino int8, through Kafka and Serve",
    baseline="torch float32, through Kafka and Serve",
    unit="texts/s",
    bar=Bar(1.8 if multiplies_in_int8() else 1.2, "at least"),
    aim=2.5 if multiplies_in_int8() else 1.5,
    run=run,
)
