"""`GLNClassifier` on texts, which are wide sparse tables, compared with scikit-learn's linear models.

`python -m benchmarks.text` prints accuracy, log-loss, the CPU seconds and the memory in MiB of a fit, and the size of
the saved model. The texts are docstrings of installed packages, where the class is the package, and package names are
removed; those of SciPy and scikit-learn only; and 2,000 generated emails of two classes, mixtures of topics whose words
follow Zipf's law. `TfidfVectorizer` and the models are at their defaults; 30% of the texts are held out, with three
seeds. Set `OMP_NUM_THREADS=1` for one thread. The first table depends on which packages are installed. `--quick` runs
on a few texts.
"""

from __future__ import annotations

import ast
import importlib.util
import pickle
import random
import re
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier

Texts = tuple[list[str], np.ndarray]  # texts, class numbers
PACKAGES = (
    *("jax", "joblib", "matplotlib", "numba", "numpy", "pandas", "river", "scipy", "sklearn", "tensorflow", "torch"),
)
MODELS: dict[str, Callable[[int], Any]] = {
    "GLNClassifier": lambda seed: GLNClassifier(random_state=seed),
    "CalibratedClassifierCV(LinearSVC)": lambda seed: CalibratedClassifierCV(LinearSVC(random_state=seed)),
    "LogisticRegression": lambda _: LogisticRegression(max_iter=1000),
    "SGDClassifier(log_loss)": lambda seed: SGDClassifier(loss="log_loss", random_state=seed),
    "MultinomialNB": lambda _: MultinomialNB(),
}
MEASURES = ("accuracy in percent", "log-loss", "seconds of a fit", "MiB of a fit", "MiB of the file")


def docstrings(package: str, most: int) -> list[str]:
    """Docstrings of a package, of 200 letters or more, from its files in random order."""
    spec = importlib.util.find_spec(package)  # does not import it
    folders = (spec and spec.submodule_search_locations) or []
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    random.Random(0).shuffle(files)
    found: set[str] = set()
    for file in files:
        if len(found) >= most:
            break
        if "test" not in str(file):
            found.update(text for text in _docstrings(file) if len(text) >= 200)
    return sorted(found)[:most]


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # templates
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            yield ast.get_docstring(node) or ""


def of_packages(packages: tuple[str, ...], most: int) -> Texts:
    """Docstrings without the packages' names, and the number of each one's package."""
    found = [docstrings(package, most) for package in packages]
    found = [texts for texts in found if len(texts) >= min(most, 100)]
    names = re.compile(
        "|".join([*packages, "scikit-learn", r"\bjnp\b", r"\bnp\b", r"\bpd\b", r"\btf\b"]), re.IGNORECASE
    )
    return [names.sub(" ", text) for texts in found for text in texts], np.repeat(
        range(len(found)), list(map(len, found))
    )


def mails(count: int, words: int = 30_000, topics: int = 12) -> Texts:
    """Generated texts of two classes, which mix topics in different proportions."""
    rng = np.random.default_rng(0)
    usual = 1 / np.arange(1, words + 1)
    usual /= usual.sum()
    of_topics, of_classes = rng.dirichlet(0.02 * words * usual, topics), rng.dirichlet(0.5 * np.ones(topics), 2)
    classes, texts = np.arange(count) % 2, []
    for number in classes:
        p = 0.7 * usual + 0.3 * rng.dirichlet(3 * of_classes[number] + 0.02) @ of_topics
        drawn = rng.choice(words, 10 + rng.poisson(100), p=p / p.sum())
        texts.append(" ".join(f"word{i}" for i in drawn))
    return texts, classes


def measured(make: Callable[[int], Any], texts: Texts, seed: int) -> list[float]:
    """A model's MEASURES on one split of the texts."""
    train, test, y_train, y_test = train_test_split(*texts, test_size=0.3, stratify=texts[1], random_state=seed)
    vectorizer = TfidfVectorizer()
    x_train, x_test = vectorizer.fit_transform(train), vectorizer.transform(test)
    make(seed).fit(x_train, y_train)  # compiles
    tracemalloc.start()
    make(seed).fit(x_train, y_train)  # again, because measuring memory takes time
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = time.process_time()
    model = make(seed).fit(x_train, y_train)
    seconds, p = time.process_time() - start, model.predict_proba(x_test)
    accuracy = 100 * (p.argmax(axis=1) == y_test).mean()
    return [accuracy, log_loss(y_test, p), seconds, memory / 2**20, file_size(model) / 2**20]


def file_size(model: Any) -> int:
    if not hasattr(model, "save"):
        return len(pickle.dumps(model))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        return Path(folder, "model").stat().st_size


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="splits, and seeds of the models")
    options = parser.parse_args()
    most, count, seeds = (60, 60, 1) if options.quick else (700, 2000, options.seeds)
    packages = ("joblib", "sklearn") if options.quick else PACKAGES
    tables = {
        "docstrings": of_packages(packages, most),
        "docstrings of scipy and sklearn": of_packages(("scipy", "sklearn"), 2 * most),
        "generated mails": mails(count),
    }
    print(machine())
    for name, texts in tables.items():
        words = TfidfVectorizer().fit(texts[0]).vocabulary_
        print(f"\n{name}: {len(texts[0]):,} texts, {len(words):,} words, {texts[1].max() + 1} classes")
        rows = {
            model: dict(zip(MEASURES, np.mean([measured(make, texts, s) for s in range(seeds)], axis=0), strict=True))
            for model, make in MODELS.items()
        }
        show(name, pd.DataFrame(rows).T, 3, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
