import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.weights.files import wanted_files

SMALL = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "merges.txt",
    "chat_template.jinja",
]


@pytest.mark.parametrize(
    ("repository", "left_out"),
    [
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5", "model.onnx"], 3),
        (["model.safetensors", "onnx/model.json", "openvino/config.json"], 2),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], 0),
        # Mistral's own format, Meta's, and OpenAI's, beside the library's.
        (["model.safetensors", "consolidated.safetensors", "params.json"], 1),
        (["model.safetensors", "consolidated-00001-of-00002.safetensors"], 1),
        (["model.safetensors", "original/params.json", "original/model.safetensors"], 2),
        (["model.safetensors", "metal/model.bin", "metal/config.json"], 2),
        (["model.safetensors", "model.fp16.safetensors"], 1),
        (["model.safetensors", "checkpoint-500/model.safetensors"], 1),
        (["model.safetensors", "1_Pooling/config.json", "2_Dense/model.safetensors"], 0),
        (["model.safetensors", "qwen.tiktoken", "tokenizer.model", "tokenizer.model.v3"], 0),
        (["model.safetensors", ".git/config.json", ".gitattributes", "README.md"], 3),
        (["model.safetensors", "modeling_custom.py", "setup.py"], 2),
    ],
)
def test_each_weight_comes_in_one_format(repository: list[str], left_out: int) -> None:
    wanted = wanted_files([*repository, *SMALL])

    assert "model.safetensors" in wanted or "model-00001-of-00002.safetensors" in wanted
    assert len(wanted) == len(repository) + len(SMALL) - left_out


def test_mistrals_format_comes_where_there_is_no_other() -> None:
    assert wanted_files(["consolidated.safetensors", "params.json"]) == [
        "consolidated.safetensors",
        "params.json",
    ]
    assert "model.fp16.safetensors" in wanted_files(["model.fp16.safetensors"])


def test_code_comes_only_where_it_is_trusted() -> None:
    repository = ["config.json", "modeling_custom.py", "model.safetensors", "pytorch_model.bin"]

    assert "modeling_custom.py" not in wanted_files(repository)
    assert wanted_files(repository, with_code=True) == [
        "config.json",
        "model.safetensors",
        "modeling_custom.py",
    ]


def test_a_tokenizer_needs_no_weights() -> None:
    assert wanted_files([*SMALL, "model.safetensors"], part="tokenizer") == sorted(SMALL)


@given(
    st.lists(
        st.from_regex(
            r"([a-z.]{1,8}/)?[a-z0-9_.-]{1,16}\.(safetensors|json|bin|py)", fullmatch=True
        )
    )
)
def test_what_is_wanted_is_of_the_repository_and_no_pickle_or_code(paths: list[str]) -> None:
    wanted = wanted_files(paths)

    assert set(wanted) <= set(paths)
    assert wanted == sorted(wanted)
    assert not [path for path in wanted if path.endswith((".bin", ".py"))]
