"""The documentation site builds without warnings, no page is wider than the screen, and nothing external is loaded."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.handwriting import browser

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
NEEDS = ("latex2mathml", "material", "mkdocs", "mkdocs_include_markdown_plugin", "mkdocs_jupyter", "mkdocstrings")
# The page's width, what it loaded, and elements that extend beyond the screen and are in no box that scrolls or clips.
LOOK = """
const width = document.documentElement.clientWidth;
const cut = e => e !== document.body && (getComputedStyle(e).overflowX !== 'visible' || cut(e.parentElement));
const wide = [...document.querySelectorAll('main *')].filter(e =>
  e.getBoundingClientRect().width && e.getBoundingClientRect().right > width + 1 && !cut(e.parentElement));
return [
  document.documentElement.scrollWidth,
  performance.getEntriesByType('resource').map(e => e.name),
  wide.map(e => e.outerHTML.slice(0, 200)),
];
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [package for package in NEEDS if importlib.util.find_spec(package) is None]
    if missing and not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.skip(f"the site needs {', '.join(missing)}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def url(built: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip("selenium")
        if not (shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome"))):
            pytest.skip("Chromium and its driver are not there: apt-get install chromium chromium-driver")
    driver = browser()
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(built, url, chromium, width):
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    pages = sorted(file.parent.relative_to(built).as_posix() for file in built.rglob("index.html"))
    assert len(pages) > 30
    for page in pages:
        chromium.get(f"{url}{'' if page == '.' else page + '/'}")
        scrolled, fetched, wide = chromium.execute_script(LOOK)
        assert (scrolled, wide) == (width, []), page
        assert [name for name in fetched if not name.startswith((url, "data:", "blob:"))] == [], page
