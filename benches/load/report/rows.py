"""One figure: its values by target, and what it ought to be."""
from dataclasses import asdict, dataclass, field


@dataclass
class Goal:
    """What the governed gateway's value, its ratio to another target's, or its difference from it may be at most, or must be
    at least."""

    limit: float
    by: str = "value"
    to: str = "nginx"
    least: bool = False

    def measured(self, values):
        """What is held against the limit; None when a target is missing."""
        own, other = values.get("governed"), values.get(self.to)
        if self.by == "value" or own is None:
            return own
        if other is None:
            return None
        return own - other if self.by == "difference" else own / other

    def kept(self, values):
        """Whether it is; None when it was not measured."""
        got = self.measured(values)
        return None if got is None else (got >= self.limit if self.least else got <= self.limit)

    def text(self, unit):
        sign, of = ("≥" if self.least else "≤"), {"value": unit, "ratio": f"x {self.to}", "difference": f"{unit} over {self.to}"}
        return f"{sign} {self.limit:g} {of[self.by]}".strip()


@dataclass
class Row:
    """`values` are numbers in `unit`, or texts, by the target's name. `ratio`: whose value the governed one is divided by."""

    figure: str
    unit: str
    values: dict
    goal: Goal | None = None
    ratio: str = "nginx"
    digits: int = 1
    # Where a plot finds it: a name and a place on its axis.
    plot: list = field(default_factory=list)

    def cell(self, name):
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        return f"{value:,.{self.digits}f} {self.unit}".strip()

    def ratio_cell(self):
        own, other = self.values.get("governed"), self.values.get(self.ratio)
        if isinstance(own, (int, float)) and isinstance(other, (int, float)) and other > 0 and own >= 0:
            return f"{own / other:.2f}"
        return ""

    def as_dict(self):
        return asdict(self)

    @classmethod
    def of_dict(cls, row):
        goal = row.pop("goal")
        return cls(**row, goal=Goal(**goal) if goal else None)
