import pytest
from pydantic import JsonValue, TypeAdapter, ValidationError

from schemas.settings.models import GeneratorSettings, ModelSettings, weight_sources
from schemas.settings.sources import WeightSource, is_pinned, with_local_paths

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "a" * 64


def generator(**keys: object) -> GeneratorSettings:
    return GeneratorSettings.model_validate(
        {"kind": "generator", "source": f"hub:org/chat@{COMMIT}", **keys}
    )


@pytest.mark.parametrize(
    ("engine_args", "wanted"),
    [
        ({"speculative_config": {"model": "org/draft"}}, "hub:org/draft"),
        ({"speculative_config": {"model": "org/draft", "revision": "v1"}}, "hub:org/draft@v1"),
        ({"speculative_config": {"model": "/models/draft"}}, "path:/models/draft"),
        ({"speculative_config": {"model": "s3://b/draft", "method": "eagle3"}}, "s3://b/draft"),
        ({"speculative_config": {"model": "oci:r.example/draft:1"}}, "oci:r.example/draft:1"),
    ],
)
def test_a_draft_model_is_a_source(engine_args: dict[str, object], wanted: str) -> None:
    own, draft = weight_sources(generator(engine_args=engine_args))

    assert own.field == "source"
    assert draft == WeightSource("engine_args.speculative_config.model", wanted)


@pytest.mark.parametrize(
    "config",
    [
        {"method": "ngram", "model": "org/x"},
        {"model": "ngram"},
        {"method": "suffix"},
        {"method": "mtp", "num_speculative_tokens": 1},
        {"method": "custom_class", "model": "my.module:Proposer"},
        "org/draft",
        None,
    ],
)
def test_methods_without_weights_are_no_source(config: object) -> None:
    assert len(weight_sources(generator(engine_args={"speculative_config": config}))) == 1


def test_tokenizers_configurations_and_adapters_are_sources() -> None:
    settings = generator(
        adapters={"legal": "path:/adapters/legal"},
        engine_args={
            "tokenizer": "org/tokenizer",
            "tokenizer_revision": "v2",
            "hf_config_path": "wheel:some-config",
            "default_mm_loras": {"audio": "org/audio"},
        },
    )

    assert weight_sources(settings)[1:] == (
        WeightSource("adapters.legal", "path:/adapters/legal"),
        WeightSource("engine_args.tokenizer", "hub:org/tokenizer@v2", "tokenizer"),
        WeightSource("engine_args.hf_config_path", "wheel:some-config", "config"),
        WeightSource("engine_args.default_mm_loras.audio", "hub:org/audio"),
    )


def test_directories_take_the_place_of_sources() -> None:
    arguments: dict[str, JsonValue] = {
        "max_num_seqs": 4,
        "tokenizer": "org/tokenizer",
        "tokenizer_revision": "v2",
        "speculative_config": {"model": "org/draft", "revision": "v1", "method": "eagle"},
        "default_mm_loras": {"audio": "org/audio", "image": "org/image"},
    }
    paths = {
        each.field: f"/cache/{number}"
        for number, each in enumerate(weight_sources(generator(engine_args=arguments))[1:])
    }

    assert with_local_paths(arguments, paths) == {
        "max_num_seqs": 4,
        "tokenizer": "/cache/1",
        "speculative_config": {"model": "/cache/0", "method": "eagle"},
        "default_mm_loras": {"audio": "/cache/2", "image": "/cache/3"},
    }
    # Settings are shared, and stay as they are.
    assert arguments["tokenizer"] == "org/tokenizer"


@pytest.mark.parametrize(
    ("source", "pinned"),
    [
        (f"hub:org/name@{COMMIT}", True),
        ("hub:org/name@main", False),
        ("hub:org/name", False),
        (f"oci:r.example/m@{DIGEST}", True),
        (f"oci:r.example/m:1@{DIGEST}", True),
        ("oci:r.example/m:1", False),
        ("s3://bucket/m", False),
        ("gs://bucket/m", False),
        ("path:/m", True),
        ("wheel:m", True),
    ],
)
def test_code_is_trusted_only_from_what_cannot_change(source: str, pinned: bool) -> None:
    models: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)

    assert is_pinned(source) is pinned
    for kind in ("embedder", "classifier", "reranker", "generator"):
        keys = {"kind": kind, "source": source, "trust_remote_code": True}
        if pinned:
            assert all(each.trusts_code for each in weight_sources(models.validate_python(keys)))
        else:
            with pytest.raises(ValidationError, match=r"trust_remote_code: .*pin it"):
                models.validate_python(keys)


def test_a_draft_models_code_is_held_to_the_same() -> None:
    drafts = {"speculative_config": {"model": "org/draft"}}

    with pytest.raises(ValidationError, match="'hub:org/draft' may mean other code"):
        generator(engine_args=drafts, trust_remote_code=True)
    assert [each.trusts_code for each in weight_sources(generator(engine_args=drafts))] == [
        False,
        False,
    ]


def test_an_engine_argument_cannot_ask_for_code() -> None:
    with pytest.raises(ValidationError, match=r"engine_args.trust_remote_code: is set by Headrace"):
        generator(engine_args={"trust_remote_code": True})
    generator(engine_args={"trust_remote_code": False})


@pytest.mark.parametrize("source", ["org/name", "http://x/y", "s3:b", "oci:", "hub:"])
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(ValidationError, match="source"):
        generator(source=source)
