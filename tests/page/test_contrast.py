"""The colours of the page's style sheet can be read: contrast as WCAG 2.2 reckons it, level AA."""

import re
from importlib.resources import files

import pytest

CSS = files("extproc.servers.admin").joinpath("assets/page.css").read_text("utf-8")
BLOCKS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
SCHEMES = dict(
    zip(("light", "dark"), (dict(re.findall(r"--([a-z-]+): (#\w{6});", block)) for block in BLOCKS), strict=True)
)

GROUNDS = ("ground", "panel", "raised")
TEXT = 4.5
SIGN = 3.0
"""For shapes and the edges of fields. Source: WCAG 2.2, 1.4.11."""
PAIRS = [
    *((colour, ground, TEXT) for colour in ("text", "muted") for ground in GROUNDS),
    *((colour, "panel", TEXT) for colour in ("good", "warn", "bad", "accent")),
    *((colour, "ground", TEXT) for colour in ("good", "bad")),
    *((colour, "raised", TEXT) for colour in ("accent", "bad", "warn")),
    *((colour, f"{colour}-ground", TEXT) for colour in ("warn", "bad")),
    *(("text", f"{kind}-ground", TEXT) for kind in ("warn", "bad")),
    ("field-line", "panel", SIGN),
    ("fill", "panel", SIGN),
    *((colour, ground, SIGN) for colour in ("good", "warn", "bad") for ground in GROUNDS),
]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("colour", "ground", "least"), PAIRS)
def test_every_pair_in_use_can_be_read(scheme: str, colour: str, ground: str, least: float) -> None:
    colours = SCHEMES[scheme]
    assert contrast(colours[colour], colours[ground]) >= least


def test_no_colour_stands_elsewhere() -> None:
    rest = CSS
    for block in BLOCKS:
        rest = rest.replace(block, "")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rest) == []


def test_both_schemes_have_the_same_colours() -> None:
    assert SCHEMES["light"].keys() == SCHEMES["dark"].keys()
