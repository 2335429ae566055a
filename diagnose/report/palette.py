"""The colours of figures, named once, and their width."""

from __future__ import annotations

PALETTE = {
    "ink": "#1c2128",
    "muted": "#5b6470",
    "line": "#c9cfd6",
    "grid": "#eaedf0",
    "paper": "#fefeff",
    "logged": "#c2570c",
    "again": "#0a66b5",
    "held": "#0b7a55",
    "best": "#a3184e",
    "tie": "#e9a06c",
    "shade": "#f4f1ea",
}
"""Logged and re-evaluated are orange and blue, told apart with any colour vision; shapes differ as well."""

WIDTH = 10.0
"""Inches. At 72 units to the inch an SVG is 720 units wide, so 9 point text is read at 12 pixels in a 960 pixel
column."""
