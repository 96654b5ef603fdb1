"""Logits to probabilities. Pure."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Activation(StrEnum):
    """What makes probabilities of a classifier's logits."""

    SOFTMAX = "softmax"
    """One class of several applies: probabilities sum to 1."""
    SIGMOID = "sigmoid"
    """Each class applies or not, by itself."""
    IDENTITY = "identity"
    """A regression: there are no probabilities."""


def activation_of(problem_type: str | None, classes: int) -> Activation:
    """Choose as vLLM and the pipelines of Transformers do.

    Args:
        problem_type: The checkpoint's, where its config names one.
        classes: How many classes it has.
    """
    if problem_type == "regression":
        return Activation.IDENTITY
    if problem_type == "multi_label_classification" or classes == 1:
        return Activation.SIGMOID
    return Activation.SOFTMAX


def apply_activation(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Return what the activation makes of logits.

    Args:
        logits: float32 [rows, classes].
        activation: What to apply to each row.

    Returns:
        float32 [rows, classes].
    """
    match activation:
        case Activation.IDENTITY:
            return logits
        case Activation.SIGMOID:
            # Of the two forms each side takes the one whose exponential cannot overflow.
            small = np.exp(-np.abs(logits))
            return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        case Activation.SOFTMAX:
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            ratios: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
            return ratios
