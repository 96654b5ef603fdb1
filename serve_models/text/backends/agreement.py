"""How far a converted model agrees with its checkpoint in float32. Pure."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from serve_models.text.models.base import ModelSettingsError, Rows

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two models' rows for the same texts.

    Attributes:
        measure: ``cosine`` of the vectors of each text; for logits and scores ``correlation`` of
            all values of a class over the texts, because a cosine of one score is 1 or -1.
        mean: Over the texts, or the classes.
        minimum: The worst text, or class.
        texts: How many were compared.
    """

    measure: str
    mean: float
    minimum: float
    texts: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        return cls(**fields)

    def __str__(self) -> str:
        return (
            f"{self.measure} to float32 on {self.texts} sample texts: mean {self.mean:.4f}, "
            f"minimum {self.minimum:.4f}"
        )


def agreement_of_vectors(reference: Rows, converted: Rows) -> Agreement:
    """Compare vectors, float32 [texts, width] each, by the cosine of each pair."""
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(converted, axis=1)
    cosines = (reference * converted).sum(axis=1) / np.maximum(lengths, _TINY)
    return _summary("cosine", cosines, len(reference))


def agreement_of_scores(reference: Rows, converted: Rows) -> Agreement:
    """Compare logits or scores, float32 [texts, classes] each, by the correlation of each class.

    A class with the same score for every text has none; it counts as 1 where the scores are equal.
    """
    ours, theirs = converted - converted.mean(axis=0), reference - reference.mean(axis=0)
    lengths = np.linalg.norm(ours, axis=0) * np.linalg.norm(theirs, axis=0)
    correlations = (ours * theirs).sum(axis=0) / np.maximum(lengths, _TINY)
    are_equal = np.isclose(reference, converted, rtol=1e-2, atol=1e-3).all(axis=0)
    is_constant = np.linalg.norm(theirs, axis=0) <= _TINY
    return _summary("correlation", np.where(is_constant, are_equal, correlations), len(reference))


def check_agreement(agreement: Agreement, least: float, backend: str) -> None:
    """Raise ``ModelSettingsError`` if the mean is below the floor of the settings."""
    # Written so that NaN is refused too.
    if not agreement.mean >= least:
        raise ModelSettingsError(
            f"least_agreement: with backend {backend} the {agreement}, which is below {least:g}; "
            "set quantization to none, or backend to torch, or least_agreement to a value that "
            "you accept"
        )


def _summary(measure: str, values: Rows, texts: int) -> Agreement:
    return Agreement(measure, float(values.mean()), float(values.min()), texts)
