"""The command `gln-bandit`: learn from a log of decisions, and estimate what the bandit would have earned."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from typing import Any

from gln.stream.command import check_files

__all__ = ["main"]

EXAMPLES = """examples:
  gln-bandit monday.jsonl --save bandit.gln
  gln-bandit tuesday.dsjson.gz --load bandit.gln --fixed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.fixed and (options.save or not options.load):
        parser.error("--fixed needs --load, and leaves nothing to --save")
    try:
        run(options)
    except (ImportError, OSError, ValueError) as error:
        print(f"gln-bandit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-bandit",
        description="Go through a log of decisions: a bandit decides, which is compared with the logged decision, and "
        "learns its reward. At the end, print estimates of the mean reward that the bandit would have earned. Logs are "
        "JSON lines with the keys context, arm, reward, propensity, perhaps arms and weight, or Vowpal Wabbit's: its "
        "text for --cb_adf, or DSJSON.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", nargs="?", default="-", help="log, which may be a .gz or .zst; - is standard input (default)"
    )
    parser.add_argument("--explore", help="how the bandit explores, as in GLNBandit")
    parser.add_argument("--probabilities", action="store_true", help="rewards are from 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="seed of a new bandit (default: 0)")
    parser.add_argument("--load", metavar="FILE", help="saved bandit to start from")
    parser.add_argument("--fixed", action="store_true", help="estimate for the loaded bandit as it is, not learning")
    parser.add_argument("--save", metavar="FILE", help="save the bandit at the end")
    parser.add_argument("--skip-bad", action="store_true", help="leave out lines that cannot be read, and count them")
    return parser


def run(options: argparse.Namespace) -> None:
    # These take most of a second, which `--help` need not wait for.
    from gln.bandit_logs.formats import read_decisions
    from gln.bandits import GLNBandit
    from gln.off_policy import estimates, evaluated
    from gln.stream.formats.lines import BadLine
    from gln.stream.formats.reader import opened

    check_files(options)
    if options.load:
        bandit = GLNBandit.load(options.load)
    else:
        choices = {} if options.explore is None else {"explore": options.explore}
        rewards = "probabilities" if options.probabilities else "numbers"
        bandit = GLNBandit(rewards=rewards, seed=options.seed, **choices)
    found: list[Any] = []
    knows_arms = False
    counts = {"without a reward": 0, "before any arm was known": 0, "that could not be read": 0}
    model = copy.deepcopy(bandit) if options.fixed else bandit
    with opened(options.file) as source:
        for row in read_decisions(source):
            try:
                if isinstance(row, BadLine):
                    raise row
                if row.decision is None:
                    counts["without a reward"] += 1
                    continue
                knows_arms = knows_arms or row.decision.arms is not None or bool(bandit.predict(row.decision.context))
                if not knows_arms:  # there is no policy yet
                    bandit.learn_log([row.decision])
                    counts["before any arm was known"] += 1
                else:
                    found.append(evaluated(row.decision, bandit.propensities, model))
            except ValueError as error:
                if not options.skip_bad:
                    raise error if isinstance(error, BadLine) else BadLine(row.line, str(error)) from error
                counts["that could not be read"] += 1
    report = _report(estimates(found), counts)
    if options.save:
        bandit.save(options.save)
    print("\n".join(report))


def _report(found: dict[str, Any], counts: dict[str, int]) -> list[str]:
    counts = {"that no policy can have chosen": found["impossible_rows"], **counts}
    left_out = [f"{count:,} {why}" for why, count in counts.items() if count]
    lines = [f"{found['rows']:,} decisions" + (f"; left out: {', '.join(left_out)}" if left_out else "")]
    names = {"logged": "logged reward", "ips": "IPS", "snips": "self-normalised IPS", "dr": "doubly robust"}
    for key, name in {**names, "weight": "weight, about 1"}.items():
        mean, error = found[key]
        lines.append(f"{name:<20} {mean:.4g} +- {1.96 * error:.2g}")
    lines.append(f"largest weight {found['largest_weight']:.4g}, effective rows {found['effective_rows']:,.0f}")
    return lines
