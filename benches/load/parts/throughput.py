"""CPU time per request and requests per second, not streaming, closed loop (wrk)."""
from ..report.rows import Goal, Row
from ..wrk import micros, over, rate, turns

CONNECTIONS = (1, 8, 64, 512)


def run(bench):
    rows = []
    for connections in CONNECTIONS:
        runs = turns(bench.all(), bench.options, "echo", connections)
        cpu, goal = over(runs, micros), Goal(1.8, "ratio") if connections == 64 else None
        rows.append(Row(f"CPU per request, c={connections}", "us", cpu, goal, plot=["cpu", f"request, c={connections}"]))
        if connections == 64 and "bare" in cpu and "governed" in cpu:
            rows.append(Row("the same, over bare", "us", {name: cpu[name] for name in ("bare", "governed")},
                Goal(1.25, "ratio", "bare"), ratio="bare"))
        rows.append(Row(f"requests per second, c={connections}", "", over(runs, rate), digits=0))
    return rows
