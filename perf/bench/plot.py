"""Plots as inline SVG.

In:  what a report says should be seen, as data. Out: SVG, coloured by the page's style. Never: a
script, a font or an image from elsewhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

WIDTH = 760
LABEL = 290
"""Room for what stands in front of a bar, and for the number behind it."""
NUMBER = 90
LINE = 22
BAR = 13
CHART = 260
SERIES = ("a", "b", "c", "d", "e", "f")
"""Colours, by the names they have in the page's style."""
NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def percentiles(title: str, unit: str, series: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """A plot of percentiles, of all values of each series."""
    lines = {}
    for name, values in series.items():
        ordered = sorted(values)
        kept = [nine for nine in NINES if len(ordered) * (100 - nine) >= 100]
        lines[name] = [[nine, ordered[min(len(ordered) - 1, int(nine / 100 * len(ordered)))]]
                       for nine in kept]
    return {"kind": "percentiles", "title": title, "unit": unit, "series": lines}


def draw(plot: Mapping[str, Any]) -> str:
    """A plot of a report as SVG; of a kind that nobody knows, nothing."""
    known: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "bars": _bars, "percentiles": _percentiles, "steps": _steps, "bands": _bands}
    drawn = known.get(plot.get("kind", ""))
    return drawn(plot) if drawn else ""


def _bars(plot: Mapping[str, Any]) -> str:
    """A bar for each row: label, value, low, high; a second one for its baseline."""
    rows = [row for row in plot["rows"] if row["value"] is not None]
    if not rows:
        return ""
    longest = max(max(row["value"], row.get("high") or 0, row.get("baseline") or 0,
                      row.get("baseline_high") or 0) for row in rows) or 1
    room = WIDTH - LABEL - NUMBER
    parts, top = [], 0
    for row in rows:
        parts.append(_text(LABEL - 8, top + LINE - 7, row["label"], "end"))
        for name, colour in (("", "a"), ("baseline", "b")):
            value = row.get(name or "value")
            if value is None:
                continue
            prefix = f"{name}_" if name else ""
            parts.append(_bar(LABEL, top + 4, value / longest * room, colour))
            parts.append(_whisker(row.get(f"{prefix}low"), row.get(f"{prefix}high"),
                                  LABEL, top + 4 + BAR / 2, room / longest))
            parts.append(_text(WIDTH - NUMBER + 6, top + LINE - 7, _number(value)))
            top += LINE - 4
        top += 8
    return _svg(plot, top, parts)


def _steps(plot: Mapping[str, Any]) -> str:
    """Where time goes: for each row a bar that is made of parts: name, value."""
    names = list(dict.fromkeys(name for row in plot["rows"] for name, _ in row["parts"]))
    longest = max((sum(value for _, value in row["parts"]) for row in plot["rows"]), default=0) or 1
    room = WIDTH - LABEL - NUMBER
    parts, top = [], 0
    for row in plot["rows"]:
        at = float(LABEL)
        parts.append(_text(LABEL - 8, top + LINE - 7, row["label"], "end"))
        for name, value in row["parts"]:
            colour = SERIES[names.index(name) % len(SERIES)]
            wide = value / longest * room
            parts.append(_bar(at, top + 4, wide, colour, f"{name}: {_number(value)}"))
            at += wide
        whole = sum(value for _, value in row["parts"])
        parts.append(_text(WIDTH - NUMBER + 6, top + LINE - 7, _number(whole)))
        top += LINE
    at = float(LABEL)
    for number, name in enumerate(names):
        parts.append(_bar(at, top + 5, BAR, SERIES[number % len(SERIES)]))
        parts.append(_text(at + BAR + 4, top + LINE - 6, name))
        at += BAR + 14 + 6.5 * len(name)
    return _svg(plot, top + LINE, parts)


def _bands(plot: Mapping[str, Any]) -> str:
    """Figures by their bars: the bar is 1, the band is the spread, the dot the figure."""
    rows = plot["rows"]
    if not rows:
        return ""
    reach = min(2.0, max(1.2, *(row["value"] for row in rows), *(row["high"] for row in rows)))
    room = WIDTH - LABEL - NUMBER
    place = lambda value: LABEL + min(max(value, 0.0), reach) / reach * room  # noqa: E731
    parts = []
    for number, row in enumerate(rows):
        middle = number * LINE + LINE / 2
        parts.append(_text(LABEL - 8, middle + 4, row["label"], "end"))
        parts.append(f'<line class="band {row["verdict"]}" x1="{place(row["low"]):.1f}" '
                     f'x2="{place(row["high"]):.1f}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<circle class="{row["verdict"]}" cx="{place(row["value"]):.1f}" '
                     f'cy="{middle}" r="4"/>')
        parts.append(_text(WIDTH - NUMBER + 6, middle + 4, _number(row["value"])))
    high = len(rows) * LINE
    parts.append(f'<line class="limit" x1="{place(1):.1f}" x2="{place(1):.1f}" y1="0" '
                 f'y2="{high}"/>')
    return _svg(plot, high, parts)


def _percentiles(plot: Mapping[str, Any]) -> str:
    """Lines over the nines, both scales logarithmic."""
    series = {name: points for name, points in plot["series"].items() if points}
    values = [value for points in series.values() for _, value in points if value > 0]
    if not values:
        return ""
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    left, right, floor = 60, WIDTH - 170, CHART - 26
    nines = sorted({nine for points in series.values() for nine, _ in points})
    far = max(_nine(nines[-1]), 1e-9)
    across = lambda nine: left + _nine(nine) / far * (right - left)  # noqa: E731
    up = lambda value: (floor - (math.log10(max(value, 10 ** low)) - low)  # noqa: E731
                        / (high - low) * (floor - 8))
    parts = []
    for power in range(low, high + 1):
        y = up(10 ** power)
        parts += [f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
                  _text(left - 6, y + 4, f"{10.0 ** power:g}", "end")]
    parts += [_text(across(nine), CHART - 8, f"{nine:g} %", "middle") for nine in nines]
    ends: list[float] = []
    for number, (name, points) in enumerate(series.items()):
        colour = SERIES[number % len(SERIES)]
        line = " ".join(f"{across(nine):.1f},{up(value):.1f}" for nine, value in points)
        parts.append(f'<polyline class="{colour}" points="{line}"/>')
        end = up(points[-1][1])
        while any(abs(end - other) < 14 for other in ends):
            end += 14 if end < floor / 2 else -14
        ends.append(end)
        parts.append(_text(right + 8, end + 4, name, colour=colour))
    return _svg(plot, CHART, parts)


def _nine(percentile: float) -> float:
    """How many nines: 90 is 1, 99 is 2."""
    return -math.log10(max(1e-9, 1 - percentile / 100))


def _bar(x: float, y: float, wide: float, colour: str, says: str = "") -> str:
    title = f"<title>{html.escape(says)}</title>" if says else ""
    return (f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{max(wide, 0.5):.1f}" '
            f'height="{BAR}">{title}</rect>')


def _whisker(low: float | None, high: float | None, x: float, y: float, scale: float) -> str:
    if low is None or high is None:
        return ""
    return (f'<line class="whisker" x1="{x + low * scale:.1f}" x2="{x + high * scale:.1f}" '
            f'y1="{y}" y2="{y}"/>')


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "") -> str:
    return (f'<text class="{colour}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f'{html.escape(words)}</text>')


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _svg(plot: Mapping[str, Any], high: float, parts: Sequence[str]) -> str:
    unit = f" ({plot['unit']})" if plot.get("unit") else ""
    title = html.escape(f"{plot['title']}{unit}")
    legend = html.escape(plot.get("legend", ""))
    return (f'<figure><figcaption>{title} <small>{legend}</small></figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {high:.0f}" role="img" aria-label="{title}">'
            f'{"".join(parts)}</svg></figure>')
