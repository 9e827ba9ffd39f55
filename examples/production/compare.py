"""Compare the log-loss of two models on live traffic."""

import math

import numpy as np


def compare(events, models):
    """By how much the second log-loss is lower, and the standard error."""
    gains, waiting = [], {}
    for number, x, y in events:
        if y is None:  # the label comes later
            waiting[number] = [model.predict_proba_one(x) for model in models]
            continue
        losses = [-math.log(max(p.get(y, 0), 1e-6)) for p in waiting.pop(number)]
        gains.append(losses[0] - losses[1])
        for model in models:
            model.learn_one(x, y)
    return np.mean(gains), np.std(gains) / math.sqrt(len(gains))
