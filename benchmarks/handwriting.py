"""Simulated drawings of digits and shapes for the page of `gln-draw`, and a browser to draw them in.

A drawing is a list of strokes, and a stroke a list of points (x, y) on a page of 280 by 280, y downward.
"""

from __future__ import annotations

import itertools
import math
import shutil
from typing import Any

import numpy as np

__all__ = ["DIGITS", "STAR", "THINGS", "browser", "draw", "shaken"]

Stroke = list[tuple[float, float]]
FLAGS = (
    "headless=new",
    "hide-scrollbars",
    "no-sandbox",
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-sync",
)


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Stroke:
    """Part of an ellipse around (x, y) with these half axes, between two angles in degrees, clockwise from the
    right."""
    angles = np.radians(np.linspace(start, end, 24))
    return list(zip((x + width * np.cos(angles)).tolist(), (y + height * np.sin(angles)).tolist(), strict=True))


def line(*corners: tuple[float, float]) -> Stroke:
    """Straight lines from corner to corner, with as many points as a mouse gives."""
    stroke: Stroke = []
    for start, end in itertools.pairwise(corners):
        stroke += [tuple(point) for point in np.linspace(start, end, 12).tolist()]
    return stroke


# Each digit in three ways.
DIGITS: dict[int, list[list[Stroke]]] = {
    0: [[arc(140, 140, 60, 90, -90, 270)], [arc(140, 140, 80, 85, -60, -420)], [arc(140, 140, 45, 90, -100, 275)]],
    1: [[line((140, 40), (140, 240))], [line((165, 45), (120, 235))], [line((105, 90), (150, 45), (148, 240))]],
    2: [
        [arc(140, 95, 55, 50, 190, 380) + line((190, 115), (85, 235), (205, 235))],
        [
            arc(135, 90, 60, 45, 170, 370)
            + line((193, 105), (150, 170), (80, 225))
            + arc(105, 215, 22, 15, 150, 330)
            + line((130, 225), (215, 230))
        ],
        [line((90, 75), (135, 50), (180, 75), (175, 120), (90, 230), (200, 225))],
    ],
    3: [
        [arc(135, 90, 50, 45, 200, 440) + arc(135, 187, 58, 50, -80, 160)],
        [line((85, 55), (190, 55), (130, 125)) + arc(130, 180, 62, 55, -80, 150)],
        [arc(140, 95, 40, 45, 210, 450) + arc(140, 185, 50, 45, -90, 150)],
    ],
    4: [
        [line((105, 50), (85, 150), (200, 150)), line((165, 60), (160, 240))],
        [line((160, 45), (75, 170), (210, 170)), line((160, 45), (160, 240))],
        [line((95, 55), (90, 135), (185, 130)), line((190, 45), (175, 245))],
    ],
    5: [
        [line((190, 50), (105, 50), (95, 125)) + arc(135, 175, 58, 58, -130, 140)],
        [line((105, 55), (95, 130)) + arc(130, 180, 62, 52, -125, 145), line((105, 55), (200, 50))],
        [line((185, 45), (115, 55), (105, 130), (160, 125), (185, 165), (165, 220), (90, 230))],
    ],
    6: [
        [line((170, 45), (110, 120)) + arc(140, 180, 50, 55, 200, 560)],
        [arc(195, 160, 105, 115, 250, 190) + arc(140, 185, 48, 48, 180, 540)],
        [line((140, 40), (105, 130), (100, 190)) + arc(138, 195, 40, 42, 180, -150)],
    ],
    7: [
        [line((80, 60), (200, 60), (125, 240))],
        [line((85, 55), (195, 55), (150, 130), (130, 235)), line((105, 145), (185, 145))],
        [line((80, 75), (90, 55), (190, 60), (160, 240))],
    ],
    8: [
        [arc(140, 95, 42, 45, 90, -270) + arc(140, 190, 55, 50, -90, 270)],
        [
            arc(140, 92, 45, 42, -30, -200)
            + line((105, 112), (180, 165))
            + arc(140, 190, 52, 48, -20, 200)
            + line((90, 175), (182, 70))
        ],
        [arc(140, 90, 38, 42, 90, 450) + arc(140, 185, 42, 52, -90, 270)],
    ],
    9: [
        [arc(135, 100, 50, 50, -10, -370) + line((185, 100), (175, 240))],
        [arc(140, 95, 48, 48, 0, -360) + line((188, 95), (185, 170)) + arc(140, 180, 45, 55, -10, 110)],
        [arc(145, 95, 45, 42, -20, -340) + line((187, 80), (140, 240))],
    ],
}
STAR = [
    line(*((140 + 100 * math.sin(4 / 5 * math.pi * i), 140 - 100 * math.cos(4 / 5 * math.pi * i)) for i in range(6)))
]
# Letters and shapes, each a new class.
THINGS: dict[str, list[Stroke]] = {
    "star": STAR,
    "triangle": [line((140, 50), (230, 220), (50, 220), (140, 50))],
    "square": [line((60, 60), (220, 60), (220, 220), (60, 220), (60, 60))],
    "smile": [
        arc(140, 140, 95, 95, 0, 360),
        line((110, 105), (110, 120)),
        line((170, 105), (170, 120)),
        arc(140, 150, 50, 45, 20, 160),
    ],
    "A": [line((140, 40), (70, 240)), line((140, 40), (210, 240)), line((95, 165), (185, 165))],
    "B": [line((90, 40), (90, 240)), arc(90, 90, 75, 50, -90, 90) + arc(90, 190, 90, 50, -90, 90)],
    "E": [line((190, 45), (90, 45), (90, 235), (190, 235)), line((90, 140), (170, 140))],
    "H": [line((80, 40), (80, 240)), line((200, 40), (200, 240)), line((80, 140), (200, 140))],
    "K": [line((90, 40), (90, 240)), line((195, 45), (90, 150), (200, 240))],
    "M": [line((60, 240), (75, 45), (140, 170), (205, 45), (220, 240))],
    "T": [line((60, 50), (220, 50)), line((140, 50), (140, 240))],
    "W": [line((50, 50), (95, 230), (140, 90), (185, 230), (230, 50))],
    "X": [line((70, 50), (210, 235)), line((210, 50), (70, 235))],
    "Y": [line((70, 45), (140, 140)), line((210, 45), (140, 140), (140, 240))],
    "a": [arc(130, 170, 55, 55, -30, -380) + line((185, 120), (185, 220), (205, 230))],
    "e": [line((85, 150), (195, 150)) + arc(140, 150, 55, 60, 0, -310)],
    "k": [line((95, 40), (95, 240)), line((180, 110), (95, 180), (190, 240))],
    "m": [
        line((60, 110), (60, 230))
        + arc(100, 150, 40, 45, 180, 360)
        + line((140, 150), (140, 230))
        + arc(180, 150, 40, 45, 180, 360)
        + line((220, 150), (220, 230))
    ],
}


def shaken(drawing: list[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """A drawing in another person's style: slanted, stretched, rotated by about 5 degrees, and slightly shaky."""
    slant, stretch, angle = rng.normal(0, 0.1), math.exp(rng.normal(0, 0.1)), rng.normal(0, 0.08)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    hand = np.array([[stretch, 0], [-slant, 1]]) @ turn
    strokes = [(np.array(stroke) - 140) @ hand + 140 + rng.normal(0, 2, (len(stroke), 2)) for stroke in drawing]
    return [[tuple(point) for point in stroke.tolist()] for stroke in strokes]


def browser(width: int = 1000, height: int = 800, dark: bool = False) -> Any:
    """Headless Chromium, driven by Selenium.

    Raises:
        ImportError: Selenium is not installed.
        OSError: Chromium or its driver is not installed.
    """
    from selenium import webdriver

    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise OSError("this needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"window-size={width},{height}", *(["blink-settings=preferredColorScheme=0"] if dark else [])):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def draw(driver: Any, drawing: list[Stroke]) -> None:
    """Draw on the page with the mouse, 4 ms from point to point."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    pad = driver.find_element("id", "pad")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", pad)
    builder = ActionBuilder(driver, mouse=PointerInput("mouse", "hand"), duration=4)
    for stroke in drawing:
        places = [tuple(round((at - 140) * pad.size["width"] / 280) for at in point) for point in stroke]
        builder.pointer_action.move_to(pad, *places[0]).pointer_down()
        for place in places[1:]:
            builder.pointer_action.move_to(pad, *place)
        builder.pointer_action.pointer_up()
    builder.perform()
