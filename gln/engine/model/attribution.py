"""What each feature contributes to a prediction: from networks through their inputs to features.

A prediction is piecewise linear in the inputs of the networks, and these are sums over features, or nearly so: an
expansion is of one feature, a mean of bins of one or two, and linear models are explained by themselves.

Shapes: B samples, C heads, F features, K inputs of a network, L predictions of linear models, n features and words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gln.engine.batches import dense, features_and_words
from gln.engine.ensemble.ensemble import Ensemble


def explain(featurizer: Any, ensemble: Ensemble, samples: Any) -> tuple[np.ndarray, np.ndarray]:
    """Contributions, and a constant, which add up to what an ensemble predicts, before the inverse link.

    A contribution compares the feature with its mean. Features are followed by the words of the samples, in the order
    of their numbers. Half of what a mean of two features' bins contributes belongs to each.

    Shapes: (F, B) -> (C, B, n), (C, B).
    """
    features, words = features_and_words(samples)
    blocks, (weights, _) = featurizer.transform(samples), ensemble.stacking_weights()
    known = np.append(np.arange(features.shape[0]), features.shape[0] + np.unique(words.numbers))
    contributions = np.zeros((len(known), ensemble.heads, features.shape[1]))
    constant = np.zeros(contributions.shape[1:]) + weights.offsets[:, None]
    linear_slopes = np.zeros((ensemble.heads, blocks.linear.shape[0], features.shape[1]))
    for member, weight in zip(ensemble.members, weights.weights[:, :, None], strict=False):
        inputs, columns = map(dense, blocks.of(member))
        slopes, constants, _ = member.network.explain(inputs, columns)
        slopes = weight[:, None] * slopes.reshape(ensemble.heads, *inputs.shape)  # (C, K, B)
        _, input_features, at_mean = featurizer.inputs_of(member.role)
        linear, bound = (input_features[:, 0] < 0).sum(), member.network.bound
        linear_slopes[:, :linear] += slopes[:, :linear]
        halves = (slopes * (inputs.clip(-bound, bound) - at_mean))[:, linear:].swapaxes(0, 1) / 2
        for place in (0, 1):
            np.add.at(contributions, input_features[linear:, place], halves)
        constant += weight * constants + (slopes * at_mean).sum(axis=1)
    contributions = contributions.transpose(1, 2, 0)
    base_models = getattr(featurizer, "base_models", None)
    if base_models is None:
        return contributions, constant
    heads = np.arange(ensemble.heads)
    for model, weight in enumerate(weights.weights[len(ensemble.members) :] if ensemble.mixes_linear else ()):
        linear_slopes[heads, model * ensemble.heads + heads] += weight[:, None]
    all_columns = blocks.columns if blocks.memory is None else blocks.memory[1]
    arguments = all_columns, features, words, featurizer.numbers, featurizer.feature_of_columns, known
    of_linear, constant_of_linear = base_models.explain(*arguments)
    contributions += np.einsum("clb,lbn->cbn", linear_slopes, of_linear)
    return contributions, constant + np.einsum("clb,lb->cb", linear_slopes, constant_of_linear)
