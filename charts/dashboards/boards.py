"""Whole dashboards: what can be chosen at their top, the marks through their graphs, and the order of their panels.

In the form that Grafana 10 reads as well as the newest does; what came with 12 (dashboardv2) no older one knows.
"""

import json
from collections.abc import Sequence
from itertools import count

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from charts.dashboards import panels

TAG = "modeldeployment-operator"
CHOSEN = 'namespace="$namespace", modeldeployment="$modeldeployment"'
"""The ModelDeployment that the variables of `chosen` name, in a query."""


def chosen_datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def chosen(label: str, title: str, of: str, *, several: bool = False) -> builders.QueryVariable:
    """A value of a label; `several`: any number of them, all at first."""
    asked = f"label_values({of}, {label})"
    variable = (
        builders.QueryVariable(label)
        .label(title)
        .datasource(panels.DATASOURCE)
        .definition(asked)
        .query({"qryType": 1, "query": asked, "refId": "StandardVariableQuery"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        everything = models.VariableOption(text=["All"], value=["$__all"], selected=True)
        variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


def mark(title: str, expr: str, color: str, says: str, *, at_value: bool = False) -> builders.AnnotationQuery:
    """A line through every graph where the query has a value; `at_value`: at the time that this is, in milliseconds."""
    return (
        builders.AnnotationQuery()
        .name(title)
        .datasource(panels.DATASOURCE)
        .enable(True)
        .icon_color(color)
        .expr(panels.on_one_line(expr))
        .step("1m")
        .title_format(title)
        .text_format(says)
        .use_value_for_time(at_value)
    )


def whole(
    uid: str,
    title: str,
    says: str,
    variables: Sequence[builders.QueryVariable],
    sections: dict[str, Sequence[panels.Panel]],
    marks: Sequence[builders.AnnotationQuery] = (),
) -> models.Dashboard:
    """A dashboard: sections of panels from left to right; panels are numbered as they stand."""
    board = (
        builders.Dashboard(title)
        .uid(uid)
        .description(says)
        .tags([TAG])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables([chosen_datasource(), *variables])
        .annotations(list(marks))
        .link(builders.DashboardLink("ModelDeployments").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
    )
    ids = count(1)
    for section, row in sections.items():
        board.with_row(builders.Row(section).id(next(ids)))
        for panel in row:
            board.with_panel(panel.id(next(ids)))
    return board.build()


def text(board: models.Dashboard) -> str:
    """The JSON that Grafana reads, without what the builder adds unasked."""
    plain = json.loads(json.dumps(board, cls=JSONEncoder))
    for each in (*plain["annotations"]["list"], *plain["links"]):
        del each["placement"]  # it knows but one, and that one hides them in a menu
    for variable in plain["templating"]["list"]:
        for of_intervals in ("auto", "auto_min", "auto_count"):
            del variable[of_intervals]
    for panel in plain["panels"]:
        if panel["type"] == "table":
            del panel["options"]["footer"]  # the newest Grafana keeps it elsewhere
    return json.dumps(plain, indent=2) + "\n"
