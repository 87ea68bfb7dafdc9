"""Rows as a Markdown table."""

# The order of columns, and their heads.
COLUMNS = {"nginx": "nginx", "bare": "bare", "quiet": "quiet", "governed": "governed", "shared": "governed, PostgreSQL + Redis",
           "litellm": "LiteLLM", "portkey": "Portkey"}
MARKS = {True: "kept", False: "**missed**", None: ""}


def names_of(rows):
    """The targets that have a value, in order."""
    found = {name for row in rows for name in row.values}
    return [name for name in COLUMNS if name in found]


def table(rows):
    """Columns without a value are left out."""
    names = names_of(rows)
    head = ["figure", *(COLUMNS[name] for name in names)]
    lines = [[row.figure, *(row.cell(name) for name in names)] for row in rows]
    if any(row.ratio_cell() for row in rows):
        head.append(f"governed / {rows[0].ratio}")
        lines = [[*line, row.ratio_cell()] for line, row in zip(lines, rows)]
    if any(row.goal for row in rows):
        head += ["goal", ""]
        lines = [[*line, *goal_cells(row)] for line, row in zip(lines, rows)]
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    text = lambda line: "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text(head), rule, *map(text, lines)])


def goal_cells(row):
    if not row.goal:
        return ["", ""]
    return [row.goal.text(row.unit), MARKS[row.goal.kept(row.values)]]
