"""The command `gln-stream`: learn from files or a pipe, line by line."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gln import __version__
from gln.apps.stream.output import say
from gln.apps.stream.signals import Signals

FORMS = ("csv", "tsv", "jsonl", "vw", "parquet", "arrow")
EXAMPLES = """examples:
  gln-stream flights.csv --target late
  tail -f events.jsonl | gln-stream --target clicked --save model.gln --predictions -
  gln-stream new.csv --load model.gln --predict-only > predicted.csv
  gln-stream prices.csv --target price --quantiles .05,.95 --metrics figures.jsonl
  gln-stream 'day-*.csv.gz' --target late --save model.gln --save-every 100000 --resume
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    signals = Signals("gln-stream")
    try:
        _check(parser, options)
        with signals.handled():
            from gln.apps.stream.inputs import Inputs
            from gln.apps.stream.run import run  # takes most of a second, which `--help` need not wait for

            inputs = Inputs(options.files, options.format)
            test_inputs = Inputs([options.test], options.format) if options.test else None
            files = [*inputs.all, *(test_inputs.all if test_inputs else [])]
            check_files(options, [file.name for file in files])
            return run(options, inputs, test_inputs, signals)
    except (ImportError, OSError, ValueError) as error:
        say("gln-stream", str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-stream",
        description="Learn from files or a pipe: predict each sample, then learn it, and print on stderr how well "
        "this goes. A sample without a target is predicted and not learned.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    files = (
        "files, perhaps .gz or .zst, or folders or patterns in quotes, whose files are learned in order of their names"
    )
    parser.add_argument("files", nargs="*", default=["-"], metavar="file", help=f"{files}; default: -, standard input")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_input(parser)
    _add_learning(parser)
    _add_output(parser)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add, flag = _group(parser, "input")
    add("--target", metavar="NAME", help="column or key to predict; not for VW's text")
    add("--weight", metavar="NAME", help="column or key of the samples' weights; not for VW's text, which has its own")
    add("--format", choices=FORMS, help="format, if neither the file's name nor the first line of a pipe shows it")
    for name, what in (
        ("strings", "that are text, such as numbers that are names"),
        ("numbers", "that are numbers"),
        ("words", "of texts, which are split into words; also VW's namespaces and lists in JSON of one name each"),
        ("ignore", "that are left out"),
    ):
        listed = f"columns or keys {what}, separated by commas"
        add(f"--{name}", type=names, default=frozenset(), metavar="NAMES", help=listed)
    together = "words also in groups of 2 to N that follow one another in a namespace or a list"
    add("--ngrams", type=int, metavar="N", help=together)
    flag("--skip-bad", help="leave out bad lines and count them")


def _add_learning(parser: argparse.ArgumentParser) -> None:
    add, flag = _group(parser, "what is learned")
    classes = "targets that begin with text, true, false, or whole numbers from -1 to 9 are classes"
    numbers = f"learn numbers. Without it, {classes}; --strings with the target's name makes classes of all"
    flag("--regression", help=numbers)
    add("--quantiles", type=levels, metavar="LEVELS", help="quantile levels to predict, such as .05,.95")
    flag("--density", help="predict the standard deviation of numbers, too")
    alone = "let each class learn from its own samples alone; for classes that come one after another"
    flag("--class-densities", help=alone)
    add("--seed", type=int, help="seed of a new model (default: 0)")
    add("--backend", help="implementation (default: the fastest one installed, or the saved model's)")
    add("--load", metavar="FILE", help="saved model to start from, also of gln.sklearn; it knows its target")
    table = "fit a new model to the first N samples as a table, in several passes; these have no predictions or figures"
    add("--fit-first", type=int, default=0, metavar="N", help=table)
    flag("--predict-only", help="learn nothing; needs --load, and --target for figures")
    add, flag = _group(parser, "how it is learned")
    add("--delay", type=int, default=0, metavar="N", help="labels come N samples later, and are learned then")
    add("--delay-by", metavar="NAME", help="labels come when the value of this column or key changes, such as a day")
    flag("--fast", help="small networks without a slow one: 1.6 times as fast, less accurate on numbers")
    add("--layers", type=sizes, metavar="SIZES", help="neurons of each layer of a new model, such as 32,16")
    rates = "learning rate of the networks (default: rates that fall)"
    add("--learning-rate", type=float, metavar="RATE", help=rates)


def _add_output(parser: argparse.ArgumentParser) -> None:
    add, flag = _group(parser, "output")
    written = "as JSON lines to a .jsonl file, or to - (standard output) if JSON lines come in; otherwise as CSV"
    predictions = f"write a prediction for each sample: {written}. The default with --predict-only is -"
    add("--predictions", metavar="FILE", help=predictions)
    probabilities = "write those of all classes, too; as classes may appear while it learns, not as CSV then"
    flag("--probabilities", help=probabilities)
    flag("--explain", help="write what each feature contributes to a prediction, to JSON lines")
    add("--test", metavar="FILE", help="after all is learned, print the figures of another file, which is not learned")
    add("--metrics", metavar="FILE", help="write all figures, as JSON lines with the time")
    add("--every", type=int, metavar="N", help="figures every N samples (default: after 1, 2, 4, 8, ... samples)")
    flag("--quiet", help="print errors only")
    saved = "save the model at the end, also after Ctrl-C, SIGTERM, SIGHUP or a bad line"
    add("--save", metavar="FILE", help=saved)
    add("--save-every", type=int, metavar="N", help="also save it about every N samples")
    learned = "after the samples of each file already learned, or with the next line of a pipe"
    flag("--resume", help=f"continue from --save if it exists: {learned}")


def _group(parser: argparse.ArgumentParser, title: str) -> tuple[Callable[..., object], Callable[..., object]]:
    """What adds an option of a group, and what adds one without a value."""
    add = parser.add_argument_group(title).add_argument
    return add, functools.partial(add, action="store_true")


def names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def levels(text: str) -> tuple[float, ...]:
    return tuple(sorted(map(float, text.split(","))))


def sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Raise errors that would otherwise occur only at the end, or after a second of imports."""
    if options.predict_only and options.predictions is None:
        options.predictions = "-"
    counts = {"save-every": options.save_every, "every": options.every, "ngrams": options.ngrams}
    for is_wrong, message in (
        (options.predict_only and options.load is None, "--predict-only needs --load"),
        (options.predict_only and (options.delay or options.delay_by), "--delay needs labels, not --predict-only"),
        (options.predict_only and options.test, "--test: expected no --predict-only, which tests the files themselves"),
        (options.delay and options.delay_by, "--delay, --delay-by: expected one of them"),
        (options.delay < 0, "--delay: expected at least 0"),
        (options.fit_first < 0, "--fit-first: expected at least 0"),
        (options.fit_first and (options.load or options.fast), "--fit-first: expected no --load and no --fast"),
        (options.resume and (options.load or not options.save), "--resume needs --save, and not --load"),
        (options.save_every is not None and options.save is None, "--save-every needs --save"),
        *((number is not None and number < 1, f"--{name}: expected at least 1") for name, number in counts.items()),
        (options.probabilities and options.predictions is None, "--probabilities needs --predictions"),
        (options.explain and options.predictions is None, "--explain needs --predictions"),
        (options.predictions == options.metrics == "-", "--metrics: expected another file than --predictions, got -"),
    ):
        if is_wrong:
            parser.error(message)
    if options.save is not None:
        file = Path(options.save)
        if not file.parent.is_dir() or (file.exists() and not file.is_file()):  # a device, which saving would replace
            raise ValueError(f"--save: expected a file in a folder that exists, got {options.save!r}")


def check_files(options: argparse.Namespace, inputs: Sequence[str]) -> None:
    """Raise ValueError if an output is an input, a model to load, or another output, which writing would destroy."""
    uses = {_identity(file): "the input" for file in inputs}
    for name in ("load", "save", "predictions", "metrics"):
        file = getattr(options, name, None)
        if file is None or file == "-" or (os.path.exists(file) and not os.path.isfile(file)):  # a pipe or a device
            continue
        other = uses.setdefault(_identity(file), f"--{name}")
        if other != f"--{name}" and (name, other) not in (("load", "the input"), ("save", "--load")):
            raise ValueError(f"--{name}: expected another file than {other}, got {file!r}")


def _identity(name: str) -> object:
    """What is the same for all names and links of a file; "-" is standard input."""
    try:
        status = os.fstat(0) if name == "-" else os.stat(name)
    except OSError:  # it will be written
        return os.path.realpath(name)
    return status.st_dev, status.st_ino
