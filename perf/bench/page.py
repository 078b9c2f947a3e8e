"""The report as one HTML file that needs nothing else.

In:  the document that is written as JSON. Out: HTML with the plots in it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import noise, plot

RATES = ("Mb/s", "Gb/s", "Mframes/s", "ns", "us")
STYLE = """
:root{--ink:#1c2430;--dim:#667;--paper:#fff;--line:#d9dee6;--a:#1f6fb2;--b:#a9b4c2;--c:#d98324;
--d:#3d8f5f;--e:#8a5aa8;--f:#b5566b;--ok:#2b8a4b;--stated:#b7791f;--missed:#c0392b}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ef;--dim:#98a2b3;--paper:#14181f;--line:#2d3644;
--a:#5aa9e6;--b:#5d6979;--c:#e8a54b;--d:#62b984;--e:#b48ad0;--f:#dd8a9b;--ok:#58c27d;
--stated:#e0ad55;--missed:#ef6f61}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem auto;
max-width:60rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-top:1px solid var(--line);
padding-top:1rem}
table{border-collapse:collapse;width:100%;font-size:.86rem;margin:.8rem 0}
th,td{text-align:left;padding:.2rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
small,dt{color:var(--dim)}dl{display:grid;grid-template-columns:9rem 1fr;font-size:.86rem;gap:.1rem}
dd{margin:0}.tag{font-weight:600}.tag.ok{color:var(--ok)}.tag.stated{color:var(--stated)}
.tag.missed{color:var(--missed)}
figure{margin:1rem 0}figcaption{font-weight:600;font-size:.9rem}svg{width:100%;height:auto}
svg text{fill:var(--ink);font-size:12px}svg rect.a{fill:var(--a)}svg rect.b{fill:var(--b)}
svg rect.c{fill:var(--c)}svg rect.d{fill:var(--d)}svg rect.e{fill:var(--e)}svg rect.f{fill:var(--f)}
svg polyline{fill:none;stroke-width:2}svg polyline.a{stroke:var(--a)}svg polyline.b{stroke:var(--b)}
svg polyline.c{stroke:var(--c)}svg polyline.d{stroke:var(--d)}svg polyline.e{stroke:var(--e)}
svg polyline.f{stroke:var(--f)}
svg text.a{fill:var(--a)}svg text.b{fill:var(--dim)}svg text.c{fill:var(--c)}
svg text.d{fill:var(--d)}svg text.e{fill:var(--e)}svg text.f{fill:var(--f)}
svg .grid{stroke:var(--line)}svg .limit{stroke:var(--ink);stroke-dasharray:3 3}
svg .whisker{stroke:var(--ink);stroke-width:2}svg .band{stroke-width:6;stroke-opacity:.35}
svg .band.ok{stroke:var(--ok)}svg .band.stated{stroke:var(--stated)}
svg .band.missed{stroke:var(--missed)}svg circle.ok{fill:var(--ok)}
svg circle.stated{fill:var(--stated)}svg circle.missed{fill:var(--missed)}
summary{cursor:pointer;color:var(--dim);font-size:.86rem}
"""


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    scenarios = document["scenarios"]
    title = f"tpo, measured: {', '.join(each['scenario'] for each in scenarios)}"
    body = [f"<h1>tpo, measured</h1>{_list(_about(document))}", _overview(scenarios)]
    body += [_scenario(each) for each in scenarios]
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
            f"<body>{''.join(body)}</body></html>\n")


def _about(document: Mapping[str, Any]) -> dict[str, str]:
    about = {"commit": document["commit"], **document["environment"],
             "options": document.get("options", ""), "begun": document.get("begun", ""),
             "took": f"{document.get('took_s', 0) / 60:.1f} min"}
    if document.get("skipped"):
        about["not there"] = "; ".join(document["skipped"])
    return {name: value for name, value in about.items() if value}


def _overview(scenarios: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in scenarios:
        counts = {verdict: sum(verdict_of(result) == verdict for result in each["results"])
                  for verdict in ("ok", "stated", "missed")}
        took = f"{each['took_s'] / 60:.1f} min" if "took_s" in each else ""
        rows.append([f'<a href="#{each["scenario"]}">{each["scenario"]}</a>',
                     html.escape(each.get("says", "")),
                     *(f'<span class="tag {verdict}">{count}</span>' if count else ""
                       for verdict, count in counts.items()),
                     took, f"{100 * noise.steal(each.get('noise', {})):.2f} %"])
    return _table(["scenario", "what it says", "bars reached", "missed, stated", "missed", "took",
                   "stolen"], rows)


def _scenario(document: Mapping[str, Any]) -> str:
    results = document["results"]
    name = document["scenario"]
    parts = [f'<h2 id="{name}">{name}</h2><p>{html.escape(document.get("says", ""))}</p>']
    parts += map(plot.draw, [_by_bars(results), *_by_units(results), *document.get("plots", [])])
    parts.append(_figures(results))
    stated = [[html.escape(result["name"]), html.escape(result["reason"])]
              for result in results if result.get("reason")]
    if stated:
        parts.append("<p>Bars that are missed, and why:</p>" + _table(["figure", "why"], stated))
    if document.get("discards"):
        rows = [[html.escape(str(each[key])) for key in ("figure", "kept", "discarded", "rule")]
                for each in document["discards"]]
        parts.append("<details><summary>What was left out</summary>"
                     + _table(["figure", "kept", "left out", "rule"], rows) + "</details>")
    parts.append(_noise(document.get("noise", {})))
    parts.append("<details><summary>How and where</summary>"
                 + _list(document["environment"] | {"commit": document["commit"]}) + "</details>")
    return "".join(parts)


def _figures(results: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for result in results:
        verdict = verdict_of(result)
        width = result.get("spread")
        between = (f"{width['low']:.4g} to {width['high']:.4g} "
                   f"<small>{100 * width['confidence']:.0f} %, {width['runs']}</small>"
                   if width else "")
        baseline = result.get("baseline")
        tag = (f'<span class="tag {verdict}">{verdict}</span>' if verdict != "reported"
               else html.escape(result.get("note") or ""))
        rows.append([html.escape(result["name"]),
                     f"{result['value']:.4g} {html.escape(result['unit'])}", between,
                     f"{baseline:.4g}" if baseline is not None else "",
                     html.escape(result["bar"] or ""), tag])
    return _table(["figure", "value", "spread", "baseline", "bar", ""], rows, numbers=(1, 2, 3))


def verdict_of(result: Mapping[str, Any]) -> str:
    """What came of a figure."""
    if not result["pass"]:
        return "missed"
    if result["bar"] is None:
        return "reported"
    return "stated" if result.get("reason") else "ok"


def _by_bars(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All figures with a bar that has a size, as multiples of it."""
    rows = []
    for result in results:
        limit = result.get("limit")
        if not limit or result.get("better") is None:
            continue
        width = result.get("spread") or {"low": result["value"], "high": result["value"]}
        rows.append({"label": _short(result["name"]), "verdict": verdict_of(result)}
                    | {key: value / limit for key, value in
                       (("value", result["value"]), ("low", width["low"]),
                        ("high", width["high"]))})
    return {"kind": "bands", "title": "Figures by their bars", "rows": rows,
            "legend": "1 is the bar; see the table for which side is better"}


def _by_units(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures with a baseline, a plot for each unit."""
    units: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["unit"] not in RATES or result.get("baseline") is None:
            continue
        row = {"label": _short(result["name"]), "value": result["value"],
               "baseline": result["baseline"]}
        for prefix, key in (("", "spread"), ("baseline_", "baseline_spread")):
            if result.get(key):
                row |= {f"{prefix}{end}": result[key][end] for end in ("low", "high")}
        units.setdefault(result["unit"], []).append(row)
    return [{"kind": "bars", "title": "Beside the baseline", "unit": unit, "rows": rows,
             "legend": "first ours, then the baseline; the line is the spread"}
            for unit, rows in units.items()]


def _noise(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    rows = [[core, *(f"{100 * share:.2f} %" for share in shares.values())]
            for core, shares in found.get("shares", {}).items()]
    parts = [_table(["core", "stolen", "irq", "softirq"], rows),
             f"<p>Load {found['load'][0]:.1f} before, {found['load'][1]:.1f} after.</p>"]
    for when, cores in found.get("hiccups", {}).items():
        for core in cores:
            bars = [{"label": f"below {gap['below_us']:,.0f} us", "value": gap["count"]}
                    for gap in core["gaps"] if gap["count"]]
            title = (f"Hiccups {when}, core {core['core']}: away {100 * core['away']:.2f} %, "
                     f"longest {core['longest_us']:,.0f} us, in {core['seconds']:.1f} s")
            parts.append(plot.draw({"kind": "bars", "title": title, "rows": bars}))
    return f"<details><summary>Noise of the machine</summary>{''.join(parts)}</details>"


def _short(name: str) -> str:
    return name if len(name) <= 46 else name[:45] + "…"


def _list(pairs: Mapping[str, Any]) -> str:
    return "<dl>" + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
                            for name, value in pairs.items()) + "</dl>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *,
           numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already."""
    cells = "".join(
        "<tr>" + "".join(f'<td class="n">{cell}</td>' if place in numbers else f"<td>{cell}</td>"
                         for place, cell in enumerate(row)) + "</tr>" for row in rows)
    return (f"<table><tr>{''.join(f'<th>{html.escape(word)}</th>' for word in head)}</tr>"
            f"{cells}</table>")
