"""Draws each dashboard from the answers of a real Prometheus into docs/images: panels where they lie, with their units."""

import math
import re
import sys
import time

import matplotlib
import panels
from matplotlib import pyplot
from world import World, eventually

matplotlib.use("Agg")
FOLDER = panels.ROOT / "docs" / "images"
SECONDS = 60
# Grafana's dark theme, about.
BACK, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#d5d7dc", "#33363d"
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#e02f44", "#8ab8ff", "#c8f2c2", "#ffa6b0", "#96d98d"]
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "orange": "#ff9830", "red": "#e02f44"}
ROW_INCHES = 0.3
SHOWN = 8


def told(value, unit, decimals=None):
    """A value as Grafana would write it, nearly."""
    if unit == "percentunit":
        return f"{value * 100:.{decimals or 1}f} %"
    if unit == "currencyUSD":
        # A dollar begins a formula in these pictures, unless it is escaped.
        return rf"\${value / 1000:,.1f}k" if value >= 10_000 else rf"\${value:,.{2 if decimals is None else decimals}f}"
    if unit in ("s", "h"):
        for scale, name in ((1e-6, "us"), (1e-3, "ms"), (1, "s")):
            if unit == "s" and abs(value) < scale * 1000:
                return f"{value / scale:.3g} {name}"
        return f"{value:.3g} {unit}"
    if unit == "bytes":
        return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 1024:.1f} KiB"
    return f"{value:.3g}{' /s' if unit == 'reqps' else ''}"


def colour(panel, value):
    """The colour of a value by the panel's thresholds."""
    found = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return NAMED[found]


def mapped(panel, value):
    """Text and colour of a value that has a word of its own."""
    for mapping in panel["fieldConfig"]["defaults"].get("mappings", []):
        if (entry := mapping["options"].get(str(int(value)))) is not None:
            return entry["text"], NAMED[entry["color"]]
    defaults = panel["fieldConfig"]["defaults"]
    return told(value, defaults["unit"], defaults.get("decimals")), colour(panel, value)


def legend(target, labels):
    text = target["legendFormat"]
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), text).removesuffix(" ()")


def asked(world, panel):
    """(legend, labels, [(time, value)]) of every series of a panel."""
    found = []
    for target in panel["targets"]:
        expression = panels.substituted(target["expr"])
        series = world.instant(expression) if target["instant"] else world.over(expression, SECONDS)
        for it in series:
            points = [(at, float(value)) for at, value in it.get("values", [it.get("value")])]
            found.append((legend(target, it["metric"]), {**it["metric"], "#": target["refId"]}, points))
    # The address of the run's own gateway says nothing.
    return [(text.replace(world.ops, "gw-1"), labels, points) for text, labels, points in found]


def lines(axes, panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    series = [it for it in series if any(math.isfinite(value) for _, value in it[2])]
    series.sort(key=lambda it: -max(value for _, value in it[2] if math.isfinite(value)))
    end = max((points[-1][0] for _, _, points in series), default=0)
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    below = {}
    for (text, _, points), shade in zip(series, COLOURS * 20):
        xs = [at - end for at, _ in points]
        ys = [value if math.isfinite(value) else math.nan for _, value in points]
        if stacked:
            base = [below.get(round(x), 0) for x in xs]
            ys = [b + (0 if math.isnan(y) else y) for b, y in zip(base, ys)]
            axes.fill_between(xs, base, ys, color=shade, alpha=0.35, linewidth=0)
            below.update({round(x): y for x, y in zip(xs, ys)})
        axes.plot(xs, ys, color=shade, linewidth=0.9, label=text[:44])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: told(value, defaults["unit"], 0 if defaults["unit"] == "percentunit" else None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
    axes.locator_params(nbins=4)
    axes.grid(color=FAINT, linewidth=0.4)
    handles, texts = axes.get_legend_handles_labels()
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    handles += handles[:1] * len(more)
    axes.legend(handles[:SHOWN] + handles[-1:] * len(more), texts[:SHOWN] + more, fontsize=4.2, loc="upper left", ncols=2,
                frameon=False, labelcolor=TEXT, handlelength=1, columnspacing=1)


def number(axes, panel, series):
    text, shade = mapped(panel, series[0][2][-1][1]) if series else ("No data", FAINT)
    axes.text(0.5, 0.42, text, color=shade, fontsize=11 if len(text) > 9 else 15, ha="center", va="center", weight="bold")
    axes.axis("off")


def bars(axes, panel, series):
    series = sorted(series, key=lambda it: it[2][-1][1])
    values = [points[-1][1] for *_, points in series]
    axes.barh([text for text, *_ in series], values, color=[colour(panel, value) for value in values], height=0.5)
    for at, value in enumerate(values):
        axes.text(value, at, "  " + told(value, panel["fieldConfig"]["defaults"]["unit"]), color=TEXT, fontsize=6, va="center")
    axes.set_xlim(0, max([1.15, *values]))
    axes.set_xticks([])


def timeline(axes, panel, series):
    end = max(points[-1][0] for *_, points in series)
    for row, (text, _, points) in enumerate(reversed(series)):
        for (at, value), (after, _) in zip(points, points[1:]):
            axes.barh(row, after - at, left=at - end, color=mapped(panel, value)[1], height=0.75, linewidth=0)
    axes.set_yticks(range(len(series)), [text for text, *_ in reversed(series)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")


def table(axes, panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    shape = next(it["options"] for it in panel["transformations"] if it["id"] == "organize")
    several = len(panel["targets"]) > 1
    rows = {}
    for _, labels, points in series:
        row = rows.setdefault(tuple(sorted((k, v) for k, v in labels.items() if k not in ("#", "__name__"))), dict(labels))
        row[f"Value #{labels['#']}" if several else "Value"] = points[-1][1]
    columns = [name for name in sorted(shape["indexByName"], key=shape["indexByName"].get)]
    heads = [shape["renameByName"][name] for name in columns]
    units = {it["matcher"]["options"]: it["properties"][0]["value"] for it in panel["fieldConfig"]["overrides"]}
    by = columns[heads.index(panel["options"]["sortBy"][0]["displayName"])]
    cell = lambda value, head: told(value, units.get(head, defaults["unit"]), defaults.get("decimals")) if isinstance(value, float) else value[:26]
    ordered = sorted(rows.values(), key=lambda row: -row.get(by, 0))[:8]
    cells = [[cell(row.get(name, ""), head) for name, head in zip(columns, heads)] for row in ordered]
    axes.axis("off")
    drawn = axes.table(cells, colLabels=heads, loc="upper center", edges="horizontal", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(5.5)
    for it in drawn.get_celld().values():
        it.set_edgecolor(FAINT)
        it.get_text().set_color(TEXT)


KINDS = {"timeseries": lines, "stat": number, "bargauge": bars, "state-timeline": timeline, "table": table}


def draw(world, name, board):
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    inches = height * ROW_INCHES
    figure = pyplot.figure(figsize=(14, inches), facecolor=BACK)
    for panel in board["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - place["y"] / height
        if panel["type"] == "row":
            figure.text(left + 0.006, top - 0.5 / height, panel["title"], color=TEXT, fontsize=9, va="center", weight="bold")
            continue
        wide, tall = place["w"] / 24, place["h"] / height
        edge = pyplot.Rectangle((left + 0.003, top - tall + 0.15 / height), wide - 0.006, tall - 0.3 / height, facecolor=PANEL, edgecolor=FAINT, linewidth=0.5, transform=figure.transFigure, zorder=-1)
        figure.patches.append(edge)
        figure.text(left + 0.008, top - 0.7 / height, panel["title"], color=TEXT, fontsize=7, va="center")
        room = {"state-timeline": 0.09, "bargauge": 0.09}.get(panel["type"], 0.037 if panel["type"] == "timeseries" else 0.008)
        axes = figure.add_axes((left + room, top - tall + 1.0 / height, wide - room - 0.01, tall - 2.3 / height), facecolor=PANEL)
        axes.tick_params(colors=TEXT, labelsize=5.5, length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        series = asked(world, panel)
        if series:
            KINDS[panel["type"]](axes, panel, series)
        else:
            axes.axis("off")
            axes.text(0.5, 0.5, "No data", color=TEXT, fontsize=8, ha="center")
    path = FOLDER / f"{name}.png"
    figure.savefig(path, dpi=80, facecolor=BACK, pil_kwargs={"optimize": True})
    pyplot.close(figure)
    smaller(path)
    print(f"{path.relative_to(panels.ROOT)}: {path.stat().st_size // 1024} KiB")


def smaller(path):
    """The same picture with 64 colours, which is all it has."""
    from PIL import Image

    with Image.open(path) as image:
        image.convert("RGB").quantize(64).save(path, optimize=True)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    with World() as world:
        world.load()
        began = time.monotonic()
        eventually("there was load for so long", lambda: time.monotonic() - began > SECONDS, SECONDS + 10)
        for name, board in panels.dashboards().items():
            draw(world, name, board)
    return 0


if __name__ == "__main__":
    sys.exit(main())
