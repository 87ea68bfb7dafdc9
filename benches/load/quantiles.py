"""Quantiles of a list of numbers."""


def at(values, share):
    """The value that `share` of them do not exceed; 0 of an empty list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
