from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.weights.completeness import check_length, check_part, check_safetensors
from serve_models.weights.references import ModelSourceError
from tests.checkpoints import safetensors, sharded, write_files


def test_a_checkpoint_with_all_its_shards_is_complete(tmp_path: Path) -> None:
    check_safetensors(write_files(tmp_path, sharded()))


def test_shards_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    write_files(tmp_path, sharded(shards=5))
    for number in (2, 4):
        (tmp_path / f"model-{number:05}-of-00005.safetensors").unlink()

    with pytest.raises(ModelSourceError, match=r"misses 2 of 5 shards .*model-00002-of-00005"):
        check_safetensors(tmp_path)


def test_an_index_beside_one_whole_file_is_no_claim(tmp_path: Path) -> None:
    files = {
        name: content for name, content in sharded().items() if not name.endswith(".safetensors")
    }
    write_files(tmp_path, {**files, "model.safetensors": safetensors()})

    check_safetensors(tmp_path)


def test_an_index_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    write_files(tmp_path, sharded() | {"model.safetensors.index.json": b"{"})

    with pytest.raises(ModelSourceError, match=r"index\.json cannot be read"):
        check_safetensors(tmp_path)


WHOLE = safetensors(500)


@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_off_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.safetensors"
    file.write_bytes(WHOLE[:length])

    with pytest.raises(ModelSourceError, match="fetch it again"):
        check_length(file)


@pytest.mark.parametrize(
    "content", [WHOLE + b"x", b"\xff" * 8 + b"{}", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_another_files_content_is_noticed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(ModelSourceError, match="fetch it again"):
        check_length(tmp_path / "model.safetensors")


def test_a_tokenizer_and_a_configuration_need_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="no tokenizer's files"):
        check_part(tmp_path, "tokenizer")
    with pytest.raises(ModelSourceError, match=r"no config\.json"):
        check_part(tmp_path, "config")
    write_files(tmp_path, {"tokenizer.json": b"{}", "config.json": b"{}"})

    check_part(tmp_path, "tokenizer")
    check_part(tmp_path, "config")
    with pytest.raises(ModelSourceError, match=r"no \*.safetensors"):
        check_part(tmp_path, "weights")


def test_shards_are_held_to_the_number_in_their_names_without_an_index(tmp_path: Path) -> None:
    files = {name: content for name, content in sharded().items() if "index" not in name}
    names = sorted(name for name in files if name.endswith(".safetensors"))
    del files[names[-1]]
    write_files(tmp_path, files)
    with pytest.raises(ModelSourceError, match=f"misses 1 of {len(names)} shards .*{names[-1]}"):
        check_safetensors(tmp_path)
