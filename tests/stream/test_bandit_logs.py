"""Logs of decisions: estimates of what another policy would have earned, files of several formats, and `gln-bandit`."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from gln.apps.bandit.command import _parser, main
from gln.apps.bandit.formats import BadLine, Logged, read_decisions
from gln.apps.bandit.run import LogRun
from gln.apps.stream.formats.lines import LONGEST
from gln.apps.stream.signals import Signals
from gln.bandits import GLNBandit, LoggedDecision
from gln.off_policy import Estimates, off_policy

ARMS = ["left", "middle", "right"]
CHANCES = {"a": [0.2, 0.5, 0.8], "b": [0.7, 0.3, 0.1], "c": [0.4, 0.4, 0.4]}  # of a reward, by context
LOGGING = {"a": [0.8, 0.1, 0.1], "b": [0.2, 0.2, 0.6], "c": [0.1, 0.6, 0.3]}
POLICIES = {
    "random": {kind: [1 / 3] * 3 for kind in CHANCES},
    "best": {"a": [0.0, 0.0, 1.0], "b": [1.0, 0.0, 0.0], "c": [0.0, 1.0, 0.0]},
    "mixed": {"a": [0.2, 0.2, 0.6], "b": [0.5, 0.4, 0.1], "c": [0.3, 0.3, 0.4]},
}
SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1, "rewards": "probabilities"}


def log_of(count: int, seed: int) -> list[LoggedDecision]:
    rng, rows = np.random.default_rng(seed), []
    for kind in rng.choice(list(CHANCES), size=count).tolist():
        arm = int(rng.choice(3, p=LOGGING[kind]))
        reward = float(rng.random() < CHANCES[kind][arm])
        rows.append(LoggedDecision({"kind": kind}, ARMS[arm], reward, LOGGING[kind][arm]))
    return rows


def policy_of(name: str) -> Any:
    return lambda context, arms=None: dict(zip(ARMS, POLICIES[name][context["kind"]], strict=True))


def truth(name: str) -> float:
    return float(np.mean([np.dot(POLICIES[name][kind], CHANCES[kind]) for kind in CHANCES]))


class Means:
    """A model that predicts the mean reward of an arm in a context."""

    def __init__(self) -> None:
        self.sums: dict[Any, list[float]] = {}

    def predict(self, context: Any, arms: Any) -> dict[Any, float]:
        found = {arm: self.sums.get((context["kind"], arm), [0.5, 1]) for arm in arms}
        return {arm: total / count for arm, (total, count) in found.items()}

    def learn_log(self, rows: list[LoggedDecision]) -> None:
        for context, arm, reward, *_ in rows:
            total, count = self.sums.get((context["kind"], arm), [0.5, 1])
            self.sums[context["kind"], arm] = [total + reward, count + 1]


# ---- Estimates -------------------------------------------------------------------------------------------------------


def test_estimates_are_those_of_the_formulas():
    log, policy, model = log_of(400, seed=1), policy_of("mixed"), Means()
    ips, weights, dr = [], [], []
    for context, arm, reward, propensity, *_ in log:
        p, values = policy(context), model.predict(context, ARMS)
        weights.append(p[arm] / propensity)
        ips.append(weights[-1] * reward)
        dr.append(sum(p[a] * values[a] for a in ARMS) + weights[-1] * (reward - values[arm]))
        model.learn_log([LoggedDecision(context, arm, reward, propensity)])
    found = off_policy(log, policy, Means())
    for name, terms in {"ips": ips, "dr": dr, "weight": weights}.items():
        assert found[name] == pytest.approx((np.mean(terms), np.std(terms, ddof=1) / 20))
    snips = sum(ips) / sum(weights)
    assert found["snips"].mean == pytest.approx(snips)
    # The variance of a ratio of means, W. Cochran, Sampling Techniques, 1977, section 2.11.
    deviations = [w * (reward - snips) for w, (_, _, reward, *_) in zip(weights, log, strict=True)]
    error = math.sqrt(sum(d * d for d in deviations) / 399 / 400) / np.mean(weights)
    assert found["snips"].standard_error == pytest.approx(error)
    assert found["effective_rows"] == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
    assert found["largest_weight"] == max(weights)
    assert (found["rows"], found["impossible_rows"]) == (400, 0)
    assert found["logged"].mean == pytest.approx(np.mean([row.reward for row in log]))


def held(
    logs: int, rows: int, model: Any, log_of: Any = log_of, policies: Iterable[str] = POLICIES
) -> dict[tuple[str, str], float]:
    """How many of the intervals of 95 % hold the truth, by policy and estimate."""
    hits: dict[tuple[str, str], list[bool]] = {}
    for seed in range(logs):
        log = log_of(rows, seed)
        for name in policies:
            found = off_policy(log, policy_of(name), model())
            for key in ("ips", "snips", "dr"):
                mean, error = found[key]
                hits.setdefault((name, key), []).append(abs(mean - truth(name)) < 1.96 * error)
    return {key: float(np.mean(values)) for key, values in hits.items()}


@pytest.mark.slow
def test_intervals_hold_the_truth():
    shares = held(logs=200, rows=500, model=Means)
    assert 0.92 <= min(shares.values()) <= max(shares.values()) <= 0.98, shares


def thinned(count: int, seed: int, kept: float = 0.25) -> list[LoggedDecision]:
    """A log that has only this share of the decisions without a reward."""
    rng = np.random.default_rng([seed, 1])
    rows = [row for row in log_of(count, seed) if row.reward or rng.random() < kept]
    return [row._replace(weight=1.0 if row.reward else 1 / kept) for row in rows]


def test_weights_make_up_for_decisions_that_were_not_logged():
    log = thinned(4000, seed=20)
    unweighted = [row._replace(weight=1.0) for row in log]
    for name in POLICIES:
        found, wrong = (off_policy(rows, policy_of(name), Means()) for rows in (log, unweighted))
        for key in ("ips", "snips", "dr"):
            assert abs(found[key].mean - truth(name)) < 3 * found[key].standard_error
            assert wrong[key].mean > truth(name) + 5 * wrong[key].standard_error
    of_all = np.mean([row.reward for row in log_of(4000, seed=20)])
    assert found["logged"].mean == pytest.approx(of_all, abs=3 * found["logged"].standard_error)
    assert found["weight"].mean == pytest.approx(1, abs=3 * found["weight"].standard_error)
    assert found["rows"] == len(log)


@pytest.mark.parametrize("weight", [0, -1.0, math.nan, math.inf, None, "2"])
def test_a_wrong_weight(weight):
    log = [*log_of(2, seed=18), LoggedDecision({"kind": "a"}, "left", 1.0, 0.8, None, weight)]
    with pytest.raises(ValueError, match=r"rows\[2\]: weight: expected a weight above 0, got "):
        off_policy(log, policy_of("random"), Means())
    with pytest.raises(ValueError, match="weight: expected a weight above 0, got "):
        GLNBandit(**SMALL).learn_log(log)


def test_rows_that_no_policy_can_have_chosen_are_left_out():
    log = log_of(50, seed=3)
    wrong = [log[0]._replace(propensity=0.0), log[1]._replace(arms=["up", "down"])]
    found, expected = (
        off_policy([*wrong, *log], policy_of("random"), Means()),
        off_policy(log, policy_of("random"), Means()),
    )
    assert found == expected | {"impossible_rows": 2}
    with pytest.raises(ValueError, match=r"rows: expected one or more that a policy can have chosen, got 2 others"):
        off_policy(wrong, policy_of("random"), Means())


@pytest.mark.parametrize("propensity", [-0.1, 1.5, math.nan, None, "0.5", 1e-300, 1e-13])
def test_a_wrong_propensity(propensity):
    log = [*log_of(3, seed=5), LoggedDecision({"kind": "a"}, "left", 1.0, propensity)]
    with pytest.raises(ValueError, match=r"rows\[3\]: expected a propensity of 0, or from 1e-12 to 1, got "):
        off_policy(log, policy_of("random"), Means())


@pytest.mark.parametrize(
    ("row", "policy", "message"),
    [
        ({}, {"left": 1.5, "right": -0.5}, "policy: expected probabilities whose sum is 1"),
        ({"arms": ["left"]}, {"left": 0.5, "up": 0.5}, r"policy: expected probabilities of some of \['left'\]"),
        ({"arms": 5}, {"left": 1.0}, "arms: expected a list of arms"),
        ({"arm": None}, {"left": 1.0}, "arm: expected the name of an arm, got None"),
        ({"reward": math.nan}, {"left": 1.0}, "reward: expected a finite number"),
    ],
)
def test_rows_and_policies_that_make_no_sense(row, policy, message):
    log = [*log_of(1, seed=6), LoggedDecision({"kind": "a"}, "left", 1.0, 0.5)._replace(**row)]
    with pytest.raises(ValueError, match=rf"rows\[1\]: {message}"):
        off_policy(log, lambda context, arms=None: policy if context == log[1].context else {"left": 1.0}, Means())


# ---- Bandits and their logs ------------------------------------------------------------------------------------------


def test_a_bandit_is_evaluated_on_the_log_of_another():
    bandit = GLNBandit(explore="epsilon", **SMALL)
    bandit.learn_log(log_of(600, seed=7))
    p = {kind: bandit.propensities({"kind": kind}) for kind in CHANCES}
    earned = np.mean([sum(p[kind][arm] * CHANCES[kind][i] for i, arm in enumerate(ARMS)) for kind in CHANCES])
    found = off_policy(log_of(1500, seed=8), bandit.propensities, GLNBandit(**SMALL))
    for key in ("ips", "snips", "dr"):
        assert abs(found[key].mean - earned) < 3 * found[key].standard_error


def features_of(arm: str) -> dict[str, Any]:
    return {"name": arm, "length": float(len(arm))}


def test_arms_with_features_with_names_or_without():
    log = log_of(300, seed=9)
    named = [row._replace(arms={arm: features_of(arm) for arm in ARMS}) for row in log]
    nameless = [row._replace(arm=ARMS.index(row.arm), arms=[*map(features_of, ARMS)]) for row in log]
    for rows in (named, nameless):
        bandit = GLNBandit(explore="inverse-gap", **SMALL)
        bandit.learn_log(rows[:200])
        assert bandit._model.learner.means.networks[0].step == 200
        found = off_policy(rows[200:], bandit.propensities, GLNBandit(explore="greedy", **SMALL))
        assert found["rows"] == 100
        assert found["snips"].mean > found["logged"].mean
    assert bandit._model._codes == {}  # indices are no names


def test_learning_a_log_is_learning_its_rewards():
    log, one, other = log_of(40, seed=10), GLNBandit(**SMALL), GLNBandit(**SMALL)
    one.learn_log(log)
    for context, arm, reward, *_ in log:
        other.add_arm(arm)
        other.learn(context, arm, reward)
    assert one.predict({"kind": "a"}) == other.predict({"kind": "a"})
    with pytest.raises(ValueError, match=r"arm: expected one of \['left'\] \(1 arms\), got 'right'"):
        GLNBandit(**SMALL).learn_log([({}, "right", 1.0, 0.5, {"left": {"x": 1.0}})])


OFFERED = {arm: features_of(arm) for arm in ARMS}


@pytest.mark.parametrize("arms", [None, ARMS, OFFERED, [*OFFERED.values()]])
def test_a_block_is_learned_as_its_rows_are(arms):
    log = [row._replace(arms=arms, weight=1.0 + place % 2) for place, row in enumerate(log_of(90, seed=24))]
    if isinstance(arms, list) and arms is not ARMS:
        log, arms = [row._replace(arm=ARMS.index(row.arm)) for row in log], dict(enumerate(arms))
    one, other = (GLNBandit(() if isinstance(arms, dict) else ARMS, **SMALL) for _ in range(2))
    one.learn_log(log)
    for start in range(0, 90, 30):
        other.learn_block(log[start : start + 30])
    assert one.predict({"kind": "a"}, arms) == other.predict({"kind": "a"}, arms)
    with pytest.raises(ValueError, match="reward: expected a finite number from 0 to 1"):
        other.learn_block([log[0], log[1]._replace(reward=2.0)])
    assert one.predict({"kind": "a"}, arms) == other.predict({"kind": "a"}, arms)


@pytest.mark.parametrize("has_features", [False, True])
def test_a_thinned_log_is_learned_by_weights(has_features):
    log = thinned(3000, seed=19)
    if has_features:
        log = [row._replace(arms={arm: features_of(arm) for arm in ARMS}) for row in log]
    errors = []
    for rows in (log, [row._replace(weight=1.0) for row in log]):
        bandit = GLNBandit(explore="greedy", **SMALL)
        bandit.learn_log(rows)
        values = {kind: bandit.predict({"kind": kind}) for kind in CHANCES}
        errors.append([values[kind][arm] - CHANCES[kind][i] for kind in CHANCES for i, arm in enumerate(ARMS)])
    weighted, unweighted = np.array(errors)
    assert abs(weighted.mean()) < 0.05 < 0.15 < unweighted.mean()


# ---- Files -----------------------------------------------------------------------------------------------------------

DSJSON: dict[str, Any] = {
    "_label_cost": -1.5,
    "_label_probability": 0.8,
    "_label_Action": 2,
    "_labelIndex": 1,
    "EventId": "e1",
    "a": [2, 1],
    "p": [0.8, 0.2],
    "c": {
        "_tag": "ignored",
        "user": {"id": "u1", "age": 30, "likes": ["jazz", "pop"]},
        "place": [{"country": "CH"}, {"hour": 7.5}],
        "_multi": [{"item": {"name": "x"}}, {"item": {"name": "y", "size": [1, 2]}}],
    },
}
IN_DSJSON = LoggedDecision(
    {
        "user.id": "u1",
        "user.age": 30,
        "user.likes=jazz": 1.0,
        "user.likes=pop": 1.0,
        "place.country": "CH",
        "place.hour": 7.5,
    },
    1,
    1.5,
    0.8,
    [{"item.name": "x"}, {"item.name": "y", "item.size.0": 1, "item.size.1": 2}],
)
TEXT = """shared |user name=Tom age:30
|item topic=music new
'tag 0:-1:0.25 |item topic=news length:2.5
"""
OF_TEXT = LoggedDecision(
    {"user^name": "Tom", "user^age": 30.0},
    1,
    1.0,
    0.25,
    [{"item^topic": "music", "item^new": 1.0}, {"item^topic": "news", "item^length": 2.5}],
)


def read(text: str) -> list[Any]:
    return list(read_decisions(io.BytesIO(text.encode())))


def test_formats():
    ours = LoggedDecision({"a.b": 1, "c": "d"}, "left", 1, 0.5, ["left", "right"])
    line = json.dumps(ours._asdict() | {"context": {"a": {"b": 1}, "c": "d"}})
    assert read(line) == [Logged(1, ours)]
    assert read(json.dumps(ours._replace(weight=2.5)._asdict())) == [Logged(1, ours._replace(weight=2.5))]
    nested = ours._replace(arm=0, arms=[{"a": {"b": 1}}, {"c": "d"}])
    assert read(json.dumps(nested._asdict())) == [Logged(1, nested._replace(arms=[{"a.b": 1}, {"c": "d"}]))]
    assert read(json.dumps(ours._replace(context=[1, 2])._asdict())) == [Logged(1, ours._replace(context=[1, 2]))]
    assert read(json.dumps(DSJSON)) == [Logged(1, IN_DSJSON)]
    assert read(json.dumps(DSJSON | {"pdrop": 0.75})) == [Logged(1, IN_DSJSON._replace(weight=4.0))]
    assert read(TEXT) == [Logged(3, OF_TEXT)]
    assert read(f"{TEXT}\n\n{TEXT}\n") == [Logged(4, OF_TEXT), Logged(9, OF_TEXT)]
    of_cb = LoggedDecision({"user^name": "Tom", "age": 3.0}, 2, 1.5, 0.5)
    text = "2:-1.5:0.5 |user name=Tom | age:3\n1 2:-1.5:0.5 3 'tag |user name=Tom | age:3\n1 2 | a\n"
    assert read(text) == [Logged(1, of_cb), Logged(2, of_cb._replace(arms=[1, 2, 3])), Logged(3, None)]


def test_the_chosen_arm_of_dsjson_may_be_the_first_one_listed():
    shorter = {
        key: value for key, value in DSJSON.items() if key not in ("_label_probability", "_labelIndex", "_label_Action")
    }
    assert read(json.dumps(shorter)) == [Logged(1, IN_DSJSON)]


def test_decisions_without_a_reward():
    assert read(json.dumps(DSJSON | {"_skipLearn": True})) == [Logged(1, None)]
    without = {key: value for key, value in DSJSON.items() if key != "_label_cost"}
    assert read(json.dumps(without)) == [Logged(1, None)]
    assert read("shared |a b\n|c d\n|c e\n") == [Logged(3, None)]
    dangling = json.dumps({"RewardValue": 1.0, "EventId": "e0"})
    assert read(f"{dangling}\n{json.dumps(DSJSON)}") == [
        Logged(1, None, "rewards without a decision"),
        Logged(2, IN_DSJSON),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1:x:0.5 | a\n", "expected a finite number, got 'x'"),
        ("1:0:0.5 2:0:0.5 | a\n", "expected shared, action:cost:propensity or nothing before |"),
        ("{", "expected JSON"),
        ('{"context": {}, "arm": 1}', "expected the keys context, arm, reward, propensity"),
        ('{"_label_cost": "x", "c": {"_multi": [{}]}}', "could not convert string to float"),
        (f'{{"_label_cost": {"9" * 400}, "c": {{"_multi": [{{}}]}}}}', "int too large to convert to float"),
        ('{"_label_cost": 0, "c": {}}', "expected DSJSON with a list of arms, got KeyError: '_multi'"),
        (json.dumps(DSJSON | {"pdrop": 1}), "expected pdrop from 0 to 1, exclusive, got 1"),
        ('{"_label_cost": 0, "c": {"_multi": [1]}}', "expected DSJSON with a list of arms, got AttributeError"),
        ("shared |a\n0:1 |b\n", "expected shared, action:cost:propensity or nothing before |, got '0:1'"),
        (
            "shared |a\n0:1:0.5 |b\n1:1:0.5 |c\n",
            "line 3: expected one arm with action:cost:propensity before an empty line, got a second one",
        ),
        ("shared |a\n0:x:0.5 |b\n", "expected a finite number, got 'x'"),
        ("no bar\n", "expected shared, action:cost:propensity or nothing before |, got 'no bar'"),
        ("shared\n", "expected | before the features"),
    ],
)
def test_lines_that_cannot_be_read(text, message):
    bad = read(f"{text}\n\n")[0]
    assert isinstance(bad, BadLine)
    assert message in str(bad)
    assert read(f"shared |a\n0:1 |b\n\n{TEXT}")[1].decision == OF_TEXT
    of_bytes = read_decisions(io.BytesIO(b"shared |a\n0:1:0.5 |b\n\xff |c\n"))  # an arm less would be another decision
    assert [type(row) for row in of_bytes] == [BadLine]


def test_a_decision_that_is_too_long_is_bad_before_it_is_collected():
    """And what follows of it is no other decision."""
    good = "shared |a\n0:1:0.5 |b\n|c\n\n"
    for start in (f"|{'a' * LONGEST}\n|b\n", f"|b\n|{'a' * (LONGEST - 1)}\n|b\n"):
        rows: list[Any] = [*read_decisions(io.BytesIO(f"{good}{start}0:1:0.5 |b\n\n{good}".encode()), "cb_adf")]
        assert [isinstance(row, BadLine) for row in rows] == [False, True, False]
        assert f"expected at most {LONGEST:,} bytes, got more" in str(rows[1])
        assert rows[2].decision == rows[0].decision


# ---- The command -----------------------------------------------------------------------------------------------------


def write(file: Any, log: list[LoggedDecision]) -> str:
    with gzip.open(file, "wt") if file.suffix == ".gz" else file.open("w") as text:
        text.writelines(json.dumps(row._asdict()) + "\n" for row in log)
    return str(file)


def figures(printed: str) -> dict[str, float]:
    """The means in a report, by the first words of a line."""
    rows = [line.split("  ") for line in printed.splitlines() if "+-" in line]
    return {name: float(rest[-1].split()[0]) for name, *rest in rows}


def test_a_log_is_learned_and_another_judged(tmp_path, capsys):
    first, second = (
        write(tmp_path / "1.jsonl", log_of(700, seed=12)),
        write(tmp_path / "2.jsonl.gz", log_of(500, seed=13)),
    )
    saved = str(tmp_path / "bandit.gln")
    assert main([first, "--save", saved, "--probabilities"]) == 0
    assert capsys.readouterr().out.startswith("699 decisions; left out: 1 before any arm was known; 699 in ")
    content = (tmp_path / "bandit.gln").read_bytes()
    assert main([second, "--load", saved, "--fixed"]) == 0
    found = figures(capsys.readouterr().out)
    bandit = GLNBandit.load(saved)
    expected = off_policy([row._replace(arms=ARMS) for row in log_of(500, seed=13)], bandit.propensities)
    for name, key in {"logged reward": "logged", "IPS": "ips", "self-normalised IPS": "snips"}.items():
        assert found[name] == pytest.approx(expected[key].mean, abs=0.02)
    assert (tmp_path / "bandit.gln").read_bytes() == content
    assert found["doubly robust"] > found["logged reward"]


def test_a_log_of_vowpal_wabbit(tmp_path, capsys):
    log = tmp_path / "log.vw"
    events = [
        f"shared |user kind={row.context['kind']}\n"
        + "".join(f"{f'0:{-row.reward}:{row.propensity} ' * (arm == row.arm)}|arm name={arm}\n" for arm in ARMS)
        for row in log_of(300, seed=14)
    ]
    log.write_text("\n".join([*events, "shared |user kind=a\n|arm name=left\n"]))
    assert main([str(log), "--explore", "epsilon"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("300 decisions; left out: 1 without a reward; ")
    assert figures(printed)["logged reward"] == pytest.approx(
        np.mean([row.reward for row in log_of(300, seed=14)]), abs=1e-3
    )


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path, capsys):
    log, outputs = write(tmp_path / "log.jsonl", log_of(120, seed=21)), ["save", "predictions", "metrics"]

    def run(name: str, *more: str) -> tuple[int, str, str]:
        files = [f"--{each}={tmp_path / f'{name}.{each}'}" for each in outputs]
        return main([log, "--probabilities", *files, *more]), *capsys.readouterr()

    assert run("whole")[0] == 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "log.jsonl").write_text("".join([*lines[:69], "{\n", *lines[69:]]))  # between two blocks
    status, _, said = run("cut", "--save-every", "25")
    assert status == 2
    assert "reading JSON lines with context, arm, reward, propensity" in said
    assert "line 70: expected JSON" in said
    assert "; saved, and --resume continues from there: " in said
    (tmp_path / "log.jsonl").write_text("".join(lines))
    status, printed, said = run("cut", "--resume")
    assert (status, printed.startswith("119 decisions; left out: 1 before any arm was known; 51 in ")) == (0, True)
    assert "going on after 68 decisions" in said
    whole, cut = ((tmp_path / f"{name}.predictions").read_text().splitlines() for name in ("whole", "cut"))
    assert len(whole) == 119
    assert whole == cut
    [*_, end], [*_, other] = (map(json.loads, (tmp_path / f"{name}.metrics").open()) for name in ("whole", "cut"))
    assert end.pop("seconds") > 0 < other.pop("seconds")
    assert end == other | {"event": "end", "rows": 119}
    (tmp_path / "log.jsonl").write_text("".join(lines[1:]))
    assert "--resume: expected a file of at least 120 lines" in run("cut", "--resume")[2]
    for wrong in (["--resume"], ["--save-every", "5"], ["--save", "x", "--save-every", "0"]):
        with pytest.raises(SystemExit):
            main([log, *wrong])


def test_decisions_are_judged_in_blocks_by_the_bandit_before(tmp_path):
    log, arms = log_of(200, seed=22), ARMS
    log = [row._replace(arms=arms if place < 150 else arms[::-1]) for place, row in enumerate(log)]
    file = write(tmp_path / "log.jsonl", log)
    assert main([file, "--probabilities", "--predictions", str(tmp_path / "p")]) == 0
    found = [json.loads(line)["of_logged_arm"] for line in (tmp_path / "p").open()]
    bandit, expected, ends = GLNBandit(rewards="probabilities", seed=0), list[float](), [*range(32), *range(32, 64, 2)]
    for start, end in itertools.pairwise(
        [*ends, *range(64, 128, 4), *range(128, 150, 8), 150, 152, *range(160, 201, 8)]
    ):
        expected += [bandit.propensities(row.context, row.arms)[row.arm] for row in log[start:end]]
        bandit.learn_log(log[start:end])
    assert found == pytest.approx(expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot tell whether a pipe has more")
def test_a_block_waits_for_nothing():
    rows = [json.dumps(row._asdict()).encode() + b"\n" for row in log_of(100, seed=23)]
    out, into = os.pipe()
    with open(out, "rb") as source, open(into, "wb", buffering=0) as sink:
        run = LogRun(_parser().parse_args([]), source, Signals("gln-bandit"))
        run._estimates.rows = 1024
        parts = run._parts()
        sink.write(b"".join(rows[:3]))
        sizes = [len(next(parts))]  # would hang if it waited for another row
        sink.write(b"".join(rows[3:]))
        sink.close()
        sizes += map(len, parts)
    assert sizes == [3, 64, 33]


def test_bad_lines_are_errors_or_counted(tmp_path, capsys):
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row._asdict()) + "\n" for row in log_of(20, seed=15)) + "{\n")
    assert main([str(file)]) == 2
    assert "gln-bandit: line 21: expected JSON" in capsys.readouterr().err
    assert main([str(file), "--skip-bad"]) == 0
    assert capsys.readouterr().out.startswith(
        "19 decisions; left out: 1 before any arm was known, 1 that could not be read; "
    )
    assert main([str(tmp_path / "missing.jsonl")]) == 2
    with pytest.raises(SystemExit):
        main([str(file), "--fixed"])


def test_an_error_that_nobody_expected_ends_a_run_that_is_saved(tmp_path, monkeypatch, capsys):
    file = write(tmp_path / "log.jsonl", log_of(40, seed=15))
    judge = Estimates.judge

    def failing(self: Estimates, *arguments: Any) -> Any:
        if self.rows > 8:
            raise ZeroDivisionError("of the line after")
        return judge(self, *arguments)

    monkeypatch.setattr(Estimates, "judge", failing)
    with pytest.raises(ZeroDivisionError):
        main([file, "--save", str(tmp_path / "m")])
    assert "ZeroDivisionError: of the line after; saved, and --resume continues" in capsys.readouterr().err
    saved = GLNBandit.load(tmp_path / "m").extra
    assert saved["estimates"]["rows"] == saved["inputs"]["files"][file][0] - 1 > 8


WRONG_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no arm": ({"arm": None}, "arm: expected the name of an arm, got None"),
    "a reward out of range": ({"reward": 2.0}, "reward: expected a finite number from 0 to 1, got 2.0"),
    "a context of other types": ({"context": {"kind": 3.0}}, "kind"),
    "objects of which one would be lost": ({"context": {"a": [{"b": 1}, {"b": 2}]}}, "a: expected a list of strings"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_wrong_rows_are_errors_with_their_line_or_left_out(case, tmp_path, capsys):
    (changes, message), log = WRONG_ROWS[case], [row._asdict() for row in log_of(90, seed=15)]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*log[:80], log[80] | changes, *log[81:]]))
    assert main([str(file), "--probabilities"]) == 2
    printed = capsys.readouterr()
    assert f"gln-bandit: line 81: {message}" in printed.err.replace("x['kind']", "kind")
    assert printed.out.startswith("79 decisions; ")  # also those before it in its block
    assert main([str(file), "--probabilities", "--skip-bad"]) == 0
    assert capsys.readouterr().out.startswith(
        "88 decisions; left out: 1 before any arm was known, 1 that could not be read; "
    )


@pytest.mark.parametrize("line", ["[" * 100_000, '{"context": ' + '{"a": ' * 100_000])
def test_lines_that_are_nested_too_deeply_are_bad(line):
    assert isinstance(read(f"{line}\n")[0], BadLine)


def test_the_log_is_not_replaced_by_the_bandit(tmp_path, capsys):
    file = write(tmp_path / "log.jsonl", log_of(20, seed=15))
    before = (tmp_path / "log.jsonl").read_bytes()
    assert main([file, "--save", file]) == 2
    assert "--save: expected another file than the input" in capsys.readouterr().err
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_an_arm_is_unknown_before_its_first_row(tmp_path, capsys):
    """Every arm always earns 1, so whatever the policy is, it earns 1. The weights of new arms would be too large."""
    found = []
    for seed in range(12):
        arms = np.random.default_rng(seed).integers(20, size=80).tolist()
        file = write(tmp_path / "log.jsonl", [LoggedDecision(None, arm, 1.0, 1 / 20) for arm in arms])
        assert main([file, "--seed", str(seed)]) == 0
        found.append(figures(capsys.readouterr().out)["IPS"])
    assert np.mean(found) == pytest.approx(1, abs=2.5 * float(np.std(found)) / math.sqrt(12))
