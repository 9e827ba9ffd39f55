"""Accuracy of the page of `gln-draw` on drawings, how much lessons make it forget, and how long it takes to respond.

`python -m benchmarks.drawings` trains the page's network in a new cache folder and queries it as the page does:

- thirty digits drawn by script (`benchmarks/handwriting.py`), each as it is and in the style of ten other people;
- `penbased` of the KEEL repository, fetched as `benchmarks.classifier` does: digits that 44 people wrote on a tablet.
  The table has eight points for each, without pen lifts or the aspect ratio. 500 of them, at random, become lessons,
  one after another;
- eighteen letters and shapes, each as a new class, taught in three people's styles and drawn in nine others.

The last table is from a browser, headless Chromium, in which the thirty digits are drawn by mouse and then taught: the
time from the last move of the pen to the updated bars, and from a click to the updated bars. It is left out if Chromium
is not installed. `--picture FILE` saves a screenshot of the page. `--quick` trains on few digits, and runs a few
drawings of each kind, without `penbased`.

Source of the table: see `benchmarks.classifier`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import test_mnist
from benchmarks.classifier import of_keel
from benchmarks.handwriting import DIGITS, STAR, THINGS, Stroke, browser, draw, shaken
from benchmarks.report import command_line, machine, show
from gln.apps.draw.pupil import Pupil
from gln.apps.draw.strokes import checked_drawing
from gln.mnist import load_mnist

DRAW = "import sys; from gln.apps.draw.command import main; sys.exit(main())"
# In the page: when the pen last moved or a button was last clicked, and when the bars were last updated.
WATCH = """
window.asked = window.shown = 0;
for (const kind of ["pointermove", "click"]) addEventListener(kind, event => {
  if (event.buttons || kind === "click") window.asked = performance.now();
}, true);
new MutationObserver(() => requestAnimationFrame(() => { window.shown = performance.now(); }))
  .observe(document.getElementById("bars"), {attributes: true, characterData: true, childList: true, subtree: true});
"""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, float]]:
    """Serve the page with model and lessons in this folder: its address, and seconds from the command to the first
    answer."""
    start = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    command = [sys.executable, "-c", DRAW, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[1]
            urllib.request.urlopen(url).read()
            yield url, time.perf_counter() - start
        finally:
            process.terminate()


def train_on_few(model: Path) -> None:
    """What the page would do at its first start, on 1,000 digits."""
    x_train, y_train, x_test, y_test = load_mnist(deskew=False)
    few = model.with_name("few.npz")
    few.parent.mkdir()
    x, x_new = (np.uint8(255 * images[:1000]) for images in (x_train, x_test))
    np.savez(few, x_train=x, y_train=y_train[:1000], x_test=x_new, y_test=y_test[:1000])
    assert test_mnist.main(["--quiet", "--data", str(few), "--save", str(model)]) == 0


def taken_for(pupil: Pupil, drawing: list[Stroke]) -> str:
    state, answer = pupil.look(as_asked(drawing))
    return state.classes[answer.probabilities.argmax()]


def as_asked(drawing: list[Stroke]) -> list[np.ndarray]:
    return checked_drawing([[list(point) for point in stroke] for stroke in drawing])


def by_script(pupil: Pupil, hands: int) -> pd.DataFrame:
    """Percentage of the digits drawn by script that are recognised before any lesson."""
    rng = np.random.default_rng(0)
    drawn = [(str(digit), one) for digit, three in DIGITS.items() for one in three]
    plain = [taken_for(pupil, one) == digit for digit, one in drawn]
    others = [taken_for(pupil, shaken(one, rng)) == digit for digit, one in drawn for _ in range(hands)]
    rows = {"as they are": plain, f"in {hands} other styles each": others}
    return pd.DataFrame(
        {name: {"drawings": str(len(hit)), "recognised": 100 * np.mean(hit)} for name, hit in rows.items()}
    ).T


def of_people(pupil: Pupil, lessons: list[int]) -> pd.DataFrame:
    """Effect of lessons on people's digits, and on digits known before."""
    x, y = of_keel("penbased")
    points = x.reshape(-1, 8, 2) * (1, -1)  # their y axis points up
    order, rows, waits = np.random.default_rng(0).permutation(len(y)), {}, [0.0]
    others = order[max(lessons) :][:1000]
    for taught, i in enumerate(tqdm(order[: max(lessons) + 1], leave=False)):
        if taught in lessons:
            known = [taken_for(pupil, [points[j].tolist()]) == str(y[j]) for j in others]
            rows[taught] = {
                "1,000 others recognised": 100 * np.mean(known),
                "MNIST's test digits": 100 * pupil.accuracy()[0],
                "ms per lesson, median": 1000 * np.median(waits),
            }
        if taught < max(lessons):
            start = time.perf_counter()
            pupil.teach(as_asked([points[i].tolist()]), str(y[i]))
            waits.append(time.perf_counter() - start)
    return pd.DataFrame(rows).T


def of_ones_own(pupil: Pupil, things: list[str]) -> pd.DataFrame:
    """Effect of three lessons, for each new class by itself."""
    rng, rows = np.random.default_rng(0), {}
    for name in tqdm(things, leave=False):
        for _ in range(3):
            pupil.teach(as_asked(shaken(THINGS[name], rng)), name)
        known = [taken_for(pupil, shaken(THINGS[name], rng)) == name for _ in range(9)]
        now, before = pupil.accuracy()
        rows[name] = {
            "recognised of nine others": str(sum(known)),
            "points lost on MNIST's test digits": 100 * (before - now),
        }
        pupil.lessons.forget(pupil.state().lessons[-1])
    return pd.DataFrame(rows).T


def in_a_browser(url: str, drawings: list[tuple[str, list[Stroke]]], picture: str | None) -> pd.DataFrame:
    """Milliseconds until the page responds, for one drawing after another; each is then taught."""
    driver, waits, known = browser(1280, 1132), [], []
    try:
        driver.get(url)
        time.sleep(2)  # until accuracy on the held-out digits has been computed
        driver.execute_script(WATCH)
        for digit, one in drawings:
            driver.find_element("id", "clear").click()
            draw(driver, one)
            drawn = waited(driver)
            known.append(driver.find_element("id", "said").text == f"Prediction: {digit}")
            driver.find_element("css selector", f'button[aria-label="It is a {digit}"]').click()
            waits.append((drawn, waited(driver)))
        if picture is not None:
            take_picture(driver, picture)
    finally:
        driver.quit()
    columns = ("from the last stroke to new bars, ms", "from a click to new bars, ms")
    table = pd.DataFrame(waits, columns=list(columns)).agg(["median", "max"]).T
    print(f"\n{sum(known)} of {len(known)} drawings recognised before their lesson")
    return table


def waited(driver: Any) -> float:
    time.sleep(0.5)
    return driver.execute_script("return window.shown - window.asked")


def take_picture(driver: Any, file: str) -> None:
    """Save a screenshot of a star after three lessons, with bars and explanation."""
    rng = np.random.default_rng(0)
    for lesson in range(3):
        driver.find_element("id", "clear").click()
        draw(driver, shaken(STAR, rng))
        if lesson == 0:
            driver.find_element("id", "name").send_keys("star\n")
        else:
            driver.find_element("css selector", 'button[aria-label="It is a star"]').click()
        time.sleep(1)
    driver.save_screenshot(file)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--picture", metavar="FILE", help="save a screenshot of the page")
    options = parser.parse_args()
    quick = options.quick
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "gated-linear-networks" / "digits.gln"
        if quick:
            train_on_few(model)
        with served(folder) as (_, first):
            pass
        pupil = Pupil(model, folder / "lessons")
        drawn = by_script(pupil, 1 if quick else 10)
        show("Digits drawn by script, percent", drawn, file=options.csv, columns="measure")
        things = ["star"] if quick else list(THINGS)
        show("New classes", of_ones_own(pupil, things), 2, file=options.csv, columns="measure")
        starts = {"first, which trains": first}
        if not quick:
            people = of_people(pupil, [0, 20, 100, 500])
            show("Digits written by people, by number of lessons", people, 2, file=options.csv, columns="measure")
            (folder / "lessons").rename(model.with_name("digits.gln.lessons"))
            with served(folder) as (_, starts["after 500 lessons"]):
                pass
            model.with_name("digits.gln.lessons").unlink()
        with served(folder) as (url, starts["later"]):
            seconds = pd.DataFrame({"seconds": starts})
            show("Seconds from the command to the page", seconds, file=options.csv, columns="measure")
            drawings = [(str(digit), one) for digit, three in DIGITS.items() for one in three][: 2 if quick else None]
            try:
                show("In a browser", in_a_browser(url, drawings, options.picture), file=options.csv, columns="measure")
            except (ImportError, OSError) as error:
                print(f"drawings: the browser is left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
