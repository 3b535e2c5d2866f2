"""Dashboards: Grafana's own types read them, Prometheus' parser their queries, and Helm delivers them as they stand."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.dashboards.boards import text
from tests.chart import promtool
from tests.chart.dashboards import BOARDS, FILES, choices, filled_in, panels, queries
from tests.chart.rendering import NAME, NAMESPACE, Helm, Rendered

each_board = pytest.mark.parametrize("name", BOARDS)
CHOSEN = {"namespace": "team", "modeldeployment": "fraud"}


@each_board
def test_grafanas_own_types_know_every_field(name: str) -> None:
    """What they do not know, they drop; the options of each kind of panel have types of their own."""
    register_default_plugins()
    read = Dashboard.from_json(json.loads(json.dumps(BOARDS[name])))
    assert json.loads(text(read)) == BOARDS[name]


def test_every_query_is_promql(tmp_path: Path) -> None:
    asked = [query.filled_in(CHOSEN) for query in queries()]
    asked += [filled_in(series, CHOSEN) for name in BOARDS for series, _ in choices(name).values()]
    assert len(asked) > 100
    rules = [{"record": f"query:{place}", "expr": expr} for place, expr in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool.run("check", "rules", tmp_path / "rules.yaml")


@each_board
def test_every_panel_says_what_it_means_and_in_which_unit(name: str) -> None:
    for panel in panels(BOARDS[name]):
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


@each_board
def test_no_datasource_is_fixed(name: str) -> None:
    found = re.findall(r'"datasource": \{.*?"uid": "(.*?)"', json.dumps(BOARDS[name]))
    assert len(found) > len(panels(BOARDS[name]))
    assert set(found) == {"${datasource}"}


@each_board
def test_panels_stand_beside_each_other(name: str) -> None:
    board = BOARDS[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])


def test_the_fleet_leads_to_the_dashboard_of_each() -> None:
    uids = {board["uid"]: set(choices(name)) for name, board in BOARDS.items()}
    assert len(uids) == len(BOARDS)
    (table,) = [panel for panel in panels(BOARDS["modeldeployment-fleet.json"]) if panel["type"] == "table"]
    links = [one["url"] for each in table["fieldConfig"]["overrides"] for value in each["properties"] if value["id"] == "links"
             for one in value["value"]]  # fmt: skip
    (link,) = links
    target, _, chosen = link.removeprefix("/d/").partition("?")
    assert {f"var-{variable}" for variable in uids[target]} <= {part.split("=")[0] for part in chosen.split("&")}


def test_helm_delivers_the_dashboards_as_they_stand(helm: Helm, rendered: Rendered) -> None:
    assert not rendered.all("ConfigMap")
    delivered = helm.render(monitoring={"dashboards": {"enabled": True}}).all("ConfigMap")
    assert {name: text for each in delivered for name, text in each["data"].items()} == {
        path.name: path.read_text() for path in FILES
    }
    assert {each["metadata"]["name"] for each in delivered} == {
        f"{NAME}-dashboard-{what}" for what in ("modeldeployment", "fleet", "operator")
    }
    for each in delivered:
        assert each["metadata"]["namespace"] == NAMESPACE
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert "annotations" not in each["metadata"]


def test_grafana_finds_them_as_it_is_set_up(helm: Helm) -> None:
    values = {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "Models"}}
    labels = {"grafana_dashboard": None, "dashboards": "yes", "app.kubernetes.io/name": "mine"}
    for each in helm.render(monitoring={"dashboards": {**values, "labels": labels}}).all("ConfigMap"):
        metadata = each["metadata"]
        assert metadata["namespace"] == "grafana"
        assert metadata["annotations"] == {"grafana_folder": "Models"}
        assert metadata["labels"]["dashboards"] == "yes"
        assert metadata["labels"]["app.kubernetes.io/name"] == NAME
        assert "grafana_dashboard" not in metadata["labels"]
    assert "/monitoring/dashboards/namespace" in helm.refusal(monitoring={"dashboards": {"namespace": "Team A"}})
