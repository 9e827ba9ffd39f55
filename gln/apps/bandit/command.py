"""The command `gln-bandit`: learn from a log of decisions, and estimate what the bandit would have earned."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gln.apps.stream.command import check_files
from gln.apps.stream.output import say
from gln.apps.stream.signals import Signals

FORMS = ("jsonl", "dsjson", "cb", "cb_adf")
EXAMPLES = """examples:
  gln-bandit monday.jsonl --save bandit.gln
  gln-bandit tuesday.dsjson.gz --load bandit.gln --fixed
  gln-bandit year.vw.zst --save bandit.gln --save-every 100000 --resume --metrics figures.jsonl
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for is_wrong, message in (
        (options.fixed and (options.save or not options.load), "--fixed needs --load, and leaves nothing to --save"),
        (options.resume and (options.load or not options.save), "--resume needs --save, and not --load"),
        (options.save_every is not None and not options.save, "--save-every needs --save"),
        (options.save_every is not None and options.save_every < 1, "--save-every: expected at least 1"),
    ):
        if is_wrong:
            parser.error(message)
    signals = Signals("gln-bandit")
    try:
        check_files(options, [options.file])
        with signals.handled():
            from gln.apps.bandit.run import run_log  # takes most of a second, which `--help` need not wait for

            return run_log(options, signals)
    except (ImportError, OSError, ValueError) as error:
        say("gln-bandit", str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-bandit",
        description="Go through a log of decisions: a bandit decides, which is compared with the logged decision, and "
        "learns its reward. At the end, print estimates of the mean reward that the bandit would have earned. Logs are "
        "JSON lines with the keys context, arm, reward, propensity, perhaps arms and weight, or Vowpal Wabbit's: its "
        "text for --cb or --cb_adf, or DSJSON.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    log = "log, which may be a .gz or .zst; - is standard input (default)"
    parser.add_argument("file", nargs="?", default="-", help=log)
    parser.add_argument("--format", choices=FORMS, help="format of the log, if its first lines do not show it")
    parser.add_argument("--explore", help="how the bandit explores, as in GLNBandit")
    parser.add_argument("--probabilities", action="store_true", help="rewards are from 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="seed of a new bandit (default: 0)")
    parser.add_argument("--load", metavar="FILE", help="saved bandit to start from")
    parser.add_argument("--fixed", action="store_true", help="estimate for the loaded bandit as it is, not learning")
    parser.add_argument("--save", metavar="FILE", help="save the bandit at the end, also after a signal or a bad line")
    parser.add_argument("--save-every", type=int, metavar="N", help="also save it every N decisions")
    parser.add_argument("--resume", action="store_true", help="continue from --save if it exists, in the same log")
    parser.add_argument("--predictions", metavar="FILE", help="write what the bandit would choose, as JSON lines")
    parser.add_argument("--metrics", metavar="FILE", help="write all figures, as JSON lines")
    parser.add_argument("--skip-bad", action="store_true", help="leave out lines that cannot be read, and count them")
    return parser
