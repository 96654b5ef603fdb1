"""Logits to probabilities. Pure."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Activation(StrEnum):
    SOFTMAX = "softmax"
    """One class of several applies: probabilities sum to 1."""
    SIGMOID = "sigmoid"
    """Each class applies or not, by itself."""
    IDENTITY = "identity"
    """A regression: there are no probabilities."""


def activation_of(problem_type: str | None, classes: int) -> Activation:
    """Choose as vLLM and Transformers' pipelines do, by the checkpoint's problem type."""
    if problem_type == "regression":
        return Activation.IDENTITY
    if problem_type == "multi_label_classification" or classes == 1:
        return Activation.SIGMOID
    return Activation.SOFTMAX


def apply_activation(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Apply the activation to each row of logits, float32 [rows, classes]."""
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
