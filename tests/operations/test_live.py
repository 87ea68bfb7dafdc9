"""Every query of every panel, every variable and every rule, asked of a real Prometheus that scrapes a busy gateway."""

import contextlib
import math
import re
import time

import panels
import pytest
import yaml
from world import Collector, World, eventually

EXCEPTIONS = yaml.safe_load((panels.ROOT / "tests" / "operations" / "exceptions.yaml").read_text())
SECONDS = 25
PANELS = [(f"{name} / {panel['title']}", panel) for name, board in panels.dashboards().items() for panel in panels.drawn(board)]
VARIABLES = [(name, it) for name, board in panels.dashboards().items() for it in board["templating"]["list"] if it["type"] == "query"]


@pytest.fixture(scope="module")
def world():
    with World() as world:
        world.load()
        began = time.monotonic()
        # A breaker, a quota and a budget need a moment to come to their state; the windows of the panels are 15 s.
        eventually("there was load for so long", lambda: time.monotonic() - began > SECONDS, SECONDS + 10)
        yield world


def answers(world, target):
    """The finite values of a query."""
    expression = panels.substituted(target["expr"])
    series = world.instant(expression) if target["instant"] else world.over(expression, SECONDS)
    values = [value for it in series for _, value in it.get("values", [it.get("value")])]
    return [value for value in map(float, values) if math.isfinite(value)]


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[name for name, _ in PANELS])
def test_a_panel_shows_something(world, name, panel):
    shown = [answers(world, target) for target in panel["targets"]]
    if name in EXCEPTIONS["empty"]:
        assert not any(shown), "no exception any more"
    else:
        assert all(shown), [target["expr"] for target, values in zip(panel["targets"], shown) if not values]


@pytest.mark.parametrize(("name", "variable"), VARIABLES, ids=[f"{name}-{it['name']}" for name, it in VARIABLES])
def test_a_variable_has_choices(world, name, variable):
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", panels.substituted(variable["query"]["query"])).groups()
    found = world.query(f"label/{label}/values", **{"match[]": selector})
    assert found, variable["query"]


def still_at_zero(world):
    """Counters and histograms of the reference that nothing was added to yet."""
    kinds = re.findall(r"^\| `(\w+)` \| (counter|histogram) \|", panels.REFERENCE.read_text(), re.MULTILINE)
    total = {name: name + ("_count" if kind == "histogram" else "") for name, kind in kinds}
    return {name for name, it in total.items() if not any(float(one["value"][1]) > 0 for one in world.instant(it))}


def test_the_load_moves_everything_that_counts_something(world):
    still, either = set(EXCEPTIONS["still"]), set(EXCEPTIONS["either"])
    # A message that the webhook does not take is counted after its last try.
    with contextlib.suppress(TimeoutError):
        eventually("everything moved", lambda: still_at_zero(world) <= still | either, 60)
    assert still_at_zero(world) - either == still


def test_prometheus_takes_every_rule_and_records_the_objective(world):
    rules = [rule for group in world.query("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(panels.rules())
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    for rule in panels.rules():
        if "record" in rule:
            assert world.instant(rule["record"]), rule["record"]


def test_the_gateway_and_its_metrics_are_as_they_should(world):
    assert world.instant("up")[0]["value"][1] == "1"
    assert "panic" not in (world.folder / "gateway.log").read_text()


def test_opentelemetrys_own_definitions_read_what_is_exported(world):
    wanted = {"POST /v1/chat/completions", "chat echo", "gen_ai.client.token.usage", "gen_ai.client.operation.duration",
              "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"}
    eventually("spans and histograms were exported", lambda: wanted <= Collector.names)
    assert not Collector.unread
