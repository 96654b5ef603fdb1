"""How a converted model is compared with its checkpoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.text.backends.agreement import (
    Agreement,
    agreement_of_scores,
    agreement_of_vectors,
    check_agreement,
)
from serve_models.text.backends.samples import CALIBRATION_TEXTS, COMPARISON_TEXTS
from serve_models.text.models.base import ModelSettingsError, Rows


def rows(seed: int, texts: int = 12, width: int = 16) -> Rows:
    return np.random.default_rng(seed).normal(size=(texts, width)).astype(np.float32)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_a_model_agrees_with_itself_whatever_the_length(seed: int, scale: float) -> None:
    same = agreement_of_vectors(rows(seed), rows(seed) * np.float32(scale))
    assert same.mean == pytest.approx(1, abs=1e-5)
    assert same.minimum == pytest.approx(1, abs=1e-5)


@given(seed=st.integers(0, 1000))
def test_one_wrong_text_shows_in_the_minimum(seed: int) -> None:
    reference, ours = rows(seed), rows(seed)
    ours[3] = -ours[3]
    found = agreement_of_vectors(reference, ours)
    assert found.minimum == pytest.approx(-1, abs=1e-5)
    assert found.mean == pytest.approx(1 - 2 / 12, abs=1e-5)
    assert (found.measure, found.texts) == ("cosine", 12)


def test_scores_of_one_class_are_compared_over_the_texts() -> None:
    reference = rows(1, width=1)
    # A cosine of single numbers would be 1 wherever the sign is right.
    wrong = agreement_of_scores(reference, np.abs(reference) * np.sign(reference)[::-1])
    assert wrong.mean < 0.9
    right = agreement_of_scores(reference, reference * 1.01 + 0.001)
    assert right.mean == pytest.approx(1, abs=1e-4)
    assert right.measure == "correlation"


def test_a_class_with_one_score_for_every_text_agrees_if_the_scores_do() -> None:
    constant = np.full((8, 1), 0.3, np.float32)
    assert agreement_of_scores(constant, constant.copy()).mean == 1
    assert agreement_of_scores(constant, constant + 1).mean == 0


def test_below_the_floor_the_model_is_refused_with_the_figures() -> None:
    agreement = Agreement("cosine", 0.981, 0.77, 48)
    check_agreement(agreement, 0.98, "openvino")
    with pytest.raises(ModelSettingsError, match=r"least_agreement: .* 0\.9810, minimum 0\.7700"):
        check_agreement(agreement, 0.99, "openvino")


def test_a_model_of_nan_is_refused() -> None:
    reference = rows(1)
    with pytest.raises(ModelSettingsError, match="least_agreement"):
        check_agreement(agreement_of_vectors(reference, reference * np.nan), -1.0, "onnx")


def test_no_text_that_calibrates_is_compared() -> None:
    assert not set(CALIBRATION_TEXTS) & set(COMPARISON_TEXTS)
    lengths = sorted(len(text.split()) for text in COMPARISON_TEXTS)
    assert len(COMPARISON_TEXTS) >= 48
    assert lengths[0] <= 8
    assert lengths[-1] >= 80
