"""Reads what callgrind writes: own instructions by function, and how often functions call each other."""
import re
from collections import Counter
from dataclasses import dataclass, field

NAMED = re.compile(r"\((\d+)\)(?: (.*))?")
# What mimalloc and the C library are asked for memory by.
MEMORY = re.compile(r"mi_(t?heap_)?(malloc|zalloc|calloc|realloc|rezalloc|recalloc)\w*|malloc|calloc|realloc")
INSIDE = re.compile(r"_?mi_.*|.*mimalloc.*")


@dataclass
class Profile:
    """Of one thread, or of several."""

    own: Counter = field(default_factory=Counter)
    # By caller and called: how often, and the instructions with all that is called below.
    calls: Counter = field(default_factory=Counter)
    within: Counter = field(default_factory=Counter)

    def add(self, other):
        for mine, theirs in ((self.own, other.own), (self.calls, other.calls), (self.within, other.within)):
            mine.update(theirs)

    def less(self, other):
        """What it has more than `other`; a function may have less."""
        left = Profile(Counter(self.own), Counter(self.calls), Counter(self.within))
        for mine, theirs in ((left.own, other.own), (left.calls, other.calls), (left.within, other.within)):
            mine.subtract(theirs)
        return left

    def total(self):
        return sum(self.own.values())

    def callers(self, part):
        """Who calls functions with this in their names: calls and instructions, by caller, most instructions first."""
        found = {}
        for (caller, called), instructions in self.within.items():
            if part in called:
                calls, before = found.get(caller, (0, 0))
                found[caller] = calls + self.calls[caller, called], before + instructions
        return sorted(found.items(), key=lambda item: -item[1][1])

    def allocations(self):
        """Calls for memory from outside of the allocator."""
        return sum(count for (caller, called), count in self.calls.items()
                   if MEMORY.fullmatch(called) and not INSIDE.fullmatch(caller) and not MEMORY.fullmatch(caller))


def bare(name):
    """Without the hash of a Rust symbol and callgrind's mark of a recursion."""
    return re.sub(r"::h[0-9a-f]{16}$", "", re.sub(r"'\d+$", "", name))


def read(path):
    """The profile in a file; format: callgrind's manual, "Callgrind Format Specification"."""
    profile, names, function, called, inclusive = Profile(), {}, "", "", False

    def name(text):
        number, words = NAMED.fullmatch(text).groups()
        if words is not None:
            names[number] = bare(words)
        return names[number]

    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line[:1].isdigit() or line[:1] in "+-*":
                # The line after `calls=` has what the callee did.
                if inclusive:
                    inclusive = False
                    profile.within[function, called] += int(line.split(" ")[1])
                elif " " in line:
                    profile.own[function] += int(line.split(" ")[1])
            elif line.startswith("fn="):
                function = name(line[3:])
            elif line.startswith("cfn="):
                called = name(line[4:])
            elif line.startswith("calls="):
                profile.calls[function, called] += int(line[6:].split(" ")[0])
                inclusive = True
    return profile
