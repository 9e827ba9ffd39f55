"""Eighteen problems as people make them up who try a bandit: linear rewards, segments of users, and rare clicks, with
5, 20 and 100 arms; rewards that arrive in batches of 500; arms that come and go; rewards of all arms that change
midway; many segments, most of them rare; and arms that are known by their features.

    python -m benchmarks.bandit_problems

The figures are mean rewards, scaled: 0 is choosing arms uniformly at random, 1 is always choosing the best arm.
`GLNBandit` with its defaults is compared with five ways in which Vowpal Wabbit explores, which is told the range of the
rewards.

Shapes: T steps, A arms.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.bandit_data import drawn
from benchmarks.bandit_rivals import HAS_VW, VW_OPTIONS
from benchmarks.report import command_line, machine, show
from gln.bandits import GLNBandit

STEPS, NUMBERS, SEGMENTS, RARE_SEGMENTS, OF_ARMS, BATCH, EVERY = 2000, 8, 12, 60, 4, 500, 400


class Problem(NamedTuple):
    kind: str
    arms: int
    batch: int = 1  # steps whose rewards arrive together
    replaced: int = 0  # so many arms, after every `EVERY` steps
    jumps: bool = False  # the rewards of all arms change in the middle
    segments: int = SEGMENTS  # of which the i-th is as frequent as 1 / i, if there are more than `SEGMENTS`


KINDS = "linear", "segments", "rare clicks"
PROBLEMS = {f"{kind}, {arms} arms": Problem(kind, arms) for kind in KINDS for arms in (5, 20, 100)}
PROBLEMS |= {f"{kind}, batches": Problem(kind, 20, batch=BATCH) for kind in KINDS}
PROBLEMS |= {f"{kind}, new arms": Problem(kind, 20, replaced=5) for kind in KINDS[:2]}
PROBLEMS |= {f"{kind}, jump": Problem(kind, 20, jumps=True) for kind in KINDS[:2]}
PROBLEMS |= {
    "rare segments": Problem("segments", 20, segments=RARE_SEGMENTS),
    "arms with features": Problem("features", 20, replaced=5),
}


class Step(NamedTuple):
    context: dict[str, Any]
    arms: dict[str, dict[str, float]]  # the arms that are offered, with their features, if they have any
    means: np.ndarray  # (A,), the expected reward of each
    rewards: np.ndarray  # (A,)


def steps_of(problem: Problem, steps: int, seed: int) -> list[Step]:
    """What happens in a problem; chances of clicks are of the segment and the arm."""
    rng, found, arms = drawn(seed), list[Step](), problem.arms
    names = [f"arm{i}" for i in range(arms)]
    tastes = rng.normal(size=(NUMBERS, OF_ARMS)) / (NUMBERS * OF_ARMS) ** 0.5  # read only if arms have features
    frequencies = 1 / np.arange(1, problem.segments + 1) ** float(problem.segments > SEGMENTS)

    def new_arms(count: int) -> np.ndarray:  # -> (NUMBERS, OF_ARMS or segments, count)
        if problem.kind == "features":
            return rng.normal(size=(OF_ARMS, count))
        if problem.kind == "linear":
            return rng.normal(size=(NUMBERS, count)) / NUMBERS**0.5
        low, high = (0.02, 0.5) if problem.kind == "segments" else (0.002, 0.06)
        return low + (high - low) * rng.random((problem.segments, count)) ** 4

    of_arms = new_arms(arms)
    for step in range(steps):
        if problem.replaced and step and step % EVERY == 0:
            first = step // EVERY * problem.replaced % arms
            places = range(first, first + problem.replaced)
            of_arms[:, places] = new_arms(problem.replaced)
            names = [f"arm{i} of {step}" if i in places else name for i, name in enumerate(names)]
        if problem.jumps and step == steps // 2:
            of_arms = new_arms(arms)
        offered = {name: dict[str, float]() for name in names}
        if problem.kind in ("linear", "features"):
            x = rng.normal(size=NUMBERS)
            context = {f"x{i}": value for i, value in enumerate(x.tolist())}
            if problem.kind == "features":
                means = x @ tastes @ of_arms
                for features, column in zip(offered.values(), of_arms.T.tolist(), strict=True):
                    features |= {f"a{i}": value for i, value in enumerate(column)}
            else:
                means = x @ of_arms
            rewards = means + 0.5 * rng.normal(size=arms)
        else:
            segment = int(rng.choice(problem.segments, p=frequencies / frequencies.sum()))
            context = {"segment": f"s{segment}", "hour": float(rng.uniform(0, 24)), "phone": bool(rng.random() < 0.6)}
            means = of_arms[segment].copy()
            rewards = (rng.random(arms) < means).astype(float)
        found.append(Step(context, offered, means, rewards))
    return found


class Gated:
    def __init__(self, seed: int) -> None:
        self.bandit = GLNBandit(seed=seed)

    def choose(self, step: Step) -> tuple[int, Any]:
        """The place of an arm, and what `learn` needs to know of this step."""
        has_features = any(step.arms.values())
        arm = self.bandit.decide(step.context, step.arms if has_features else [*step.arms]).arm
        return [*step.arms].index(arm), arm

    def learn(self, lessons: list[tuple[Step, Any, float]]) -> None:
        contexts, arms, rewards = zip(*((step.context, arm, reward) for step, arm, reward in lessons), strict=True)
        self.bandit.learn_many(contexts, arms, rewards)


class VowpalWabbit:
    def __init__(self, seed: int, explore: str, low: float, high: float) -> None:
        workspace: Any = importlib.import_module("vowpalwabbit").Workspace
        self.model = workspace(f"--cb_explore_adf {explore} -q sa --quiet --random_seed {seed + 1}")
        self.rng, self.low, self.high = np.random.default_rng(seed), low, high

    def choose(self, step: Step) -> tuple[int, Any]:
        parts = [
            f"{name}={value}" if isinstance(value, str) else f"{name}:{value / (24 if name == 'hour' else 1):.5g}"
            for name, value in step.context.items()
        ]
        of_arms = [
            " ".join(["|a", name.replace(" ", "_"), *(f"{key}:{value:.5g}" for key, value in features.items())])
            for name, features in step.arms.items()
        ]
        lines = [f"shared |s {' '.join(parts)}", *of_arms]
        p = np.array(self.model.predict(lines))
        place = int(self.rng.choice(len(p), p=p / p.sum()))
        return place, (lines, place, p[place])

    def learn(self, lessons: list[tuple[Step, Any, float]]) -> None:
        for _, (lines, place, p), reward in lessons:
            cost = (self.high - reward) / (self.high - self.low)
            self.model.learn([*lines[: place + 1], f"0:{cost}:{p} {lines[place + 1]}", *lines[place + 2 :]])


def scores(name: str, steps: int, seed: int) -> dict[str, float]:
    """Scaled rewards of all models in a problem."""
    problem, found = PROBLEMS[name], steps_of(PROBLEMS[name], steps, seed)
    span = (float(min(step.rewards.min() for step in found)), float(max(step.rewards.max() for step in found)))
    models: dict[str, Any] = {"GLNBandit": lambda: Gated(seed)}
    if HAS_VW:
        models |= {f"VW {name}": lambda each=each: VowpalWabbit(seed, each, *span) for name, each in VW_OPTIONS.items()}
    random, best = (float(np.mean([of(step.means) for step in found])) for of in (np.mean, np.max))
    scaled = {}
    for title, make in models.items():
        model, lessons, earned = make(), list[tuple[Step, Any, float]](), 0.0
        for number, step in enumerate(found, 1):
            place, told = model.choose(step)
            earned += step.means[place]  # less noise than in the rewards
            lessons.append((step, told, float(step.rewards[place])))
            if number % problem.batch == 0:
                model.learn(lessons)
                lessons.clear()
        scaled[title] = (earned / len(found) - random) / (best - random)
    return scaled


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=4, metavar="S", help="seeds of problems and models")
    options = parser.parse_args()
    steps, seeds = (200, 1) if options.quick else (STEPS, options.seeds)
    print(machine())
    runs = [delayed(scores)(name, steps, seed) for name in PROBLEMS for seed in range(seeds)]
    results = pd.DataFrame(Parallel(n_jobs=1)(runs)).set_axis(np.repeat([*PROBLEMS], seeds))
    table = results.groupby(level=0, sort=False).mean()
    print(f"\n{steps:,} steps, {seeds} seeds")
    show("Scaled reward", table, 3, file=options.csv, summary=table.mean().to_frame("mean").T)


if __name__ == "__main__":
    main()
