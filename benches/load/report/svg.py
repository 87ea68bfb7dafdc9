"""The few shapes that the plots are made of, as SVG text."""
from html import escape

INK, MUTED, GRID = "#1f2328", "#59636e", "#d1d9e0"
COLOURS = {"nginx": "#8c959f", "bare": "#54aeff", "governed": "#0550ae", "shared": "#8250df", "litellm": "#bc4c00", "portkey": "#116329"}


def text(x, y, words, anchor="start", size=12, colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
            f'font-weight="{weight}">{escape(str(words))}</text>')


def line(x1, y1, x2, y2, colour=GRID, dash=""):
    more = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def bar(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width):.1f}" height="{height:.1f}" fill="{colour}"/>'


def path(points, colour):
    """A line through points, with a dot on each."""
    route = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'


def legend(x, y, names, heads):
    """A square and a name for each."""
    shapes = []
    for name in names:
        shapes += [bar(x, y - 10, 11, 11, COLOURS[name]), text(x + 16, y, heads[name])]
        x += 34 + 7 * len(heads[name])
    return "".join(shapes)


def ticks(most):
    """Round numbers from 0 to at least `most`, some four of them."""
    step = next(step for power in range(-3, 9) for step in (10 ** power, 2 * 10 ** power, 5 * 10 ** power) if step * 5 >= most)
    return [step * number for number in range(int(most / step) + 2)]


def number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def picture(width, height, title, shapes):
    """The whole file. Its ground is white, so that it can be read on a dark page, too."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(title)}">'
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>{text(16, 26, title, size=15, weight="bold")}'
            + "".join(shapes) + "</svg>\n")
