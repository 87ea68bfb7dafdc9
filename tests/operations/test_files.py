"""What can be said of the dashboards, rules and runbook by reading them."""

import re

import panels
import promql_parser
import pytest
import yaml

EXCEPTIONS = yaml.safe_load((panels.ROOT / "tests" / "operations" / "exceptions.yaml").read_text())
RULES = panels.rules()
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
BOARDS = panels.dashboards()
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in panels.drawn(board)]
EXPRESSIONS = [(f"{name} / {panel['title']}", target["expr"]) for name, panel in PANELS for target in panel["targets"]]
EXPRESSIONS += [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]
named = pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{name}-{panel['title']}" for name, panel in PANELS])
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])


def read_by_somebody():
    return set().union(*(panels.metrics_of(expression) for _, expression in EXPRESSIONS))


def test_there_are_the_four_dashboards_with_names_of_their_own():
    assert sorted(BOARDS) == ["internals", "keys-and-spend", "overview", "providers"]
    assert {board["uid"] for board in BOARDS.values()} == {f"llm-gateway-{name}" for name in BOARDS}


def test_every_metric_that_is_read_is_in_the_reference():
    known = set(panels.documented()) | RECORDED | {"up", "ALERTS"} | set(EXCEPTIONS["unknown"] or {})
    assert read_by_somebody() - known == set()
    assert set(EXCEPTIONS["unknown"] or {}) & set(panels.documented()) == set(), "no exception any more"


def test_every_metric_of_the_reference_is_read_or_an_exception_that_is_still_one():
    unread = set(panels.documented()) - read_by_somebody()
    assert unread == set(EXCEPTIONS["unshown"] or {})


def test_every_label_that_is_chosen_or_grouped_by_is_one_of_the_metric():
    labels = panels.documented()
    everywhere = {"instance", "job", "le", "alertname", "alertstate"}
    for name, expression in EXPRESSIONS:
        for metric, chosen in re.findall(r"(\w+)\{([^}]*)\}", panels.substituted(expression)):
            metric = re.sub(r"_(bucket|sum|count)$", "", metric)
            if metric in labels:
                used = set(re.findall(r"(\w+)\s*(?:=|!=)", re.sub(r'"[^"]*"', '""', chosen)))
                assert used <= everywhere | set(labels[metric]), f"{name}: {metric}"
        allowed = everywhere.union(*(labels.get(metric, []) for metric in panels.metrics_of(expression)))
        if panels.metrics_of(expression) & set(labels):
            for grouped in re.findall(r"by \(([^)]*)\)", expression):
                assert {label.strip() for label in grouped.split(",")} <= allowed, name


@named
def test_a_panel_says_what_it_shows_in_which_unit_what_to_do_and_where_it_reads(name, panel):
    assert re.search(r"\w.*\*\*What to do:\*\* \w", panel["description"]), "what it means and what to do"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        promql_parser.parse(panels.substituted(target["expr"]))
        for metric in panels.metrics_of(target["expr"]) & set(panels.documented()):
            assert f"{metric}" in target["expr"] and "$instance" in target["expr"], "the variable of the instance counts"


@named
def test_the_links_of_a_panel_lead_to_sections_of_the_runbook(name, panel):
    sections = {panels.anchor(heading) for heading in re.findall(r"^## (.+)$", panels.RUNBOOK.read_text(), re.MULTILINE)}
    for link in panel.get("links", []):
        assert link["url"].removeprefix("${runbook}#") in sections


@pytest.mark.parametrize("name", BOARDS)
def test_the_panels_of_a_dashboard_have_ids_of_their_own_and_lie_side_by_side(name):
    board = BOARDS[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_uses_the_variables_that_it_has(name):
    board = BOARDS[name]
    text = " ".join(target["expr"] for panel in panels.drawn(board) for target in panel["targets"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["multi"] and variable["includeAll"], variable["name"]
            assert f"${variable['name']}" in text, variable["name"]
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval", "__range"}
    assert used <= {variable["name"] for variable in board["templating"]["list"]}


@each_alert
def test_an_alert_says_how_bad_it_is_and_has_a_section_of_the_runbook(alert):
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"] and alert["annotations"]["description"]
    where = re.fullmatch(r"\{\{ \$externalLabels\.runbook_base \}\}docs/runbook\.md#([a-z0-9-]+)", alert["annotations"]["runbook_url"])
    assert where, alert["annotations"]["runbook_url"]
    sections = re.split(r"^## ", panels.RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    (section,) = [it for it in sections if panels.anchor(it.split("\n", 1)[0]) == where[1]]
    assert f"`{alert['alert']}`" in section
    for part in ("**Means.**", "**Affected.**", "**First look.**", "**Do.**", "**Over when.**"):
        assert part in section, part


@each_alert
def test_an_alert_is_proved_to_fire_and_not_to_fire(alert):
    tests = [it for test in yaml.safe_load(panels.RULES_TEST.read_text())["tests"] for it in test["alert_rule_test"]]
    fired = {bool(it["exp_alerts"]) for it in tests if it["alertname"] == alert["alert"]}
    assert fired == {True, False}


def test_the_runbook_has_no_section_that_no_alert_leads_to():
    sections = {panels.anchor(heading) for heading in re.findall(r"^## (.+)$", panels.RUNBOOK.read_text(), re.MULTILINE)}
    assert sections == {alert["annotations"]["runbook_url"].split("#")[1] for alert in ALERTS}
