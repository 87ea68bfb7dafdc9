"""The plots, of rows that say where they stand: ratios of CPU time, quantiles of added latency, memory by streams."""
from . import svg
from .table import COLUMNS, names_of

WIDTH = 760


def draw(rows, folder):
    """Writes those that there are figures for; gives their titles by file."""
    written = {}
    for file, title, kind, make in (
            ("cpu.svg", "CPU time, times nginx's (less is better)", "cpu", ratios),
            ("latency.svg", "Latency added, microseconds (less is better)", "latency", quantiles),
            ("memory.svg", "Memory by streams held, MiB (less is better)", "memory", memory)):
        of_kind = [row for row in rows if row.plot and row.plot[0] == kind]
        if of_kind:
            (folder / file).write_text(make(of_kind, title))
            written[file] = title
    return written


def ratios(rows, title):
    """A bar for each profile and figure."""
    names = [name for name in names_of(rows) if name != "nginx"]
    pitch = 14
    block = pitch * len(names) + 14
    height = 70 + block * len(rows)
    left, width = 230, WIDTH - 230 - 70
    value = lambda row, name: row.values[name] / row.values["nginx"] if row.values.get("nginx") and name in row.values else 0
    marks = svg.ticks(max(value(row, name) for row in rows for name in names))
    x = lambda ratio: left + width * ratio / marks[-1]
    shapes = [svg.legend(left, 48, names, COLUMNS)]
    for mark in marks:
        shapes += [svg.line(x(mark), 58, x(mark), height - 18), svg.text(x(mark), height - 5, svg.number(mark), "middle", 11, svg.MUTED)]
    shapes.append(svg.line(x(1), 58, x(1), height - 18, svg.INK, "4 3"))
    for number, row in enumerate(rows):
        top = 64 + block * number
        shapes.append(svg.text(left - 10, top + pitch * len(names) / 2 + 3, row.plot[1], "end"))
        for place, name in enumerate(names):
            y, ratio = top + pitch * place, value(row, name)
            if ratio:
                shapes += [svg.bar(left, y, x(ratio) - left, pitch - 3, svg.COLOURS[name]),
                           svg.text(x(ratio) + 5, y + 9, f"{ratio:.2f}", size=10, colour=svg.MUTED)]
    return svg.picture(WIDTH, height, title, shapes)


def quantiles(rows, title):
    """A panel for each load, with a line for each proxy over p50 to p99.9."""
    names = names_of(rows)
    loads = list(dict.fromkeys(row.plot[1].split("|")[0] for row in rows))
    high, height = 170, 64 + 230 * ((len(loads) + 1) // 2)
    shapes = [svg.legend(16, 48, names, COLUMNS)]
    for number, load in enumerate(loads):
        of_load = [row for row in rows if row.plot[1].split("|")[0] == load]
        marks = svg.ticks(max(0.0, *(value for row in of_load for value in row.values.values())) or 1)
        left, top = 70 + (WIDTH // 2) * (number % 2), 84 + 230 * (number // 2)
        wide = WIDTH // 2 - 100
        x = lambda at, left=left, wide=wide, of=of_load: left + wide * at / max(1, len(of) - 1)
        y = lambda value, top=top, most=marks[-1]: top + high * (1 - max(0.0, value) / most)
        shapes.append(svg.text(left, top - 10, load, weight="bold"))
        for mark in marks:
            shapes += [svg.line(left, y(mark), left + wide, y(mark)), svg.text(left - 6, y(mark) + 4, svg.number(mark), "end", 11, svg.MUTED)]
        for at, row in enumerate(of_load):
            shapes.append(svg.text(x(at), top + high + 16, row.plot[1].split("|")[1], "middle", 11, svg.MUTED))
        shapes += [svg.path([(x(at), y(row.values[name])) for at, row in enumerate(of_load) if name in row.values], svg.COLOURS[name])
                   for name in names]
    return svg.picture(WIDTH, height, title, shapes)


def memory(rows, title):
    """A line for each proxy over the number of streams."""
    names = names_of(rows)
    left, top, wide, high = 70, 70, WIDTH - 110, 220
    most_x = max(row.plot[1] for row in rows) or 1
    marks = svg.ticks(max(value for row in rows for value in row.values.values()))
    x, y = (lambda count: left + wide * count / most_x), (lambda value: top + high * (1 - value / marks[-1]))
    shapes = [svg.legend(left, 48, names, COLUMNS)]
    for mark in marks:
        shapes += [svg.line(left, y(mark), left + wide, y(mark)), svg.text(left - 6, y(mark) + 4, svg.number(mark), "end", 11, svg.MUTED)]
    for count in sorted({row.plot[1] for row in rows} - {64}):
        shapes.append(svg.text(x(count), top + high + 18, f"{count:,}", "middle", 11, svg.MUTED))
    for name in names:
        points = sorted((row.plot[1], row.values[name]) for row in rows if name in row.values)
        shapes.append(svg.path([(x(count), y(value)) for count, value in points], svg.COLOURS[name]))
    return svg.picture(WIDTH, top + high + 36, title, shapes)
