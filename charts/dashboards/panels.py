"""Panels as all of ours look, made with Grafana's own builder.

A panel cannot be made without a description: what it shows, and what to do when it looks bad.
"""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | heatmap.Panel | table.Panel
Thresholds = tuple[tuple[float, str], ...]
"""From which value on which color; below the first one everything is as it should be."""

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, WARNING, BAD, PLAIN = "green", "orange", "red", "text"
HEIGHT = 8


# --- queries ------------------------------------------------------------------------------------------------------------
def query(expr: str, legend: str = "") -> Dataquery:
    """Over the time that is looked at."""
    return Dataquery().datasource(DATASOURCE).expr(on_one_line(expr)).legend_format(legend or "__auto").range()


def now(expr: str, legend: str = "") -> Dataquery:
    """At its end only."""
    return Dataquery().datasource(DATASOURCE).expr(on_one_line(expr)).legend_format(legend or "__auto").instant()


def columns(expr: str) -> Dataquery:
    """Labels and value of each series as columns of a table."""
    return now(expr).format(PromQueryFormat.TABLE)


def on_one_line(expr: str) -> str:
    return " ".join(expr.split())


def _named(queries: Sequence[Dataquery]) -> list[Dataquery]:
    return [each.ref_id(chr(ord("A") + place)) for place, each in enumerate(queries)]


# --- panels -------------------------------------------------------------------------------------------------------------
def graph(
    title: str,
    says: str,
    unit: str,
    *queries: Dataquery,
    width: int = 12,
    thresholds: Thresholds = (),
    stacked: common.StackingMode = common.StackingMode.NONE,
    most: float | None = None,
) -> timeseries.Panel:
    """Lines over time from zero on; thresholds are drawn as dashed lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(says)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .targets(list(_named(queries)))
        .line_width(1)
        .fill_opacity(10 if stacked is common.StackingMode.NONE else 40)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(options.StackingConfig().mode(stacked).group("A"))
        .legend(
            options.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .thresholds(_steps(thresholds))
    )
    if thresholds:
        panel.thresholds_style(options.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    return panel if most is None else panel.max(most)


def number(
    title: str,
    says: str,
    unit: str,
    asked: Dataquery,
    *,
    width: int = 4,
    thresholds: Thresholds = (),
    first: str = GOOD,
    none: str = "-",
) -> stat.Panel:
    """One number, colored by its thresholds; `none` where there is none."""
    return (
        _stat(title, says, asked, width, none)
        .unit(unit)
        .text_mode(common.BigValueTextMode.VALUE)
        .thresholds(_steps(thresholds, first))
    )


def yes_or_no(title: str, says: str, asked: Dataquery, *, width: int = 3) -> stat.Panel:
    return (
        _stat(title, says, asked, width, "-").unit(units.NoUnit).mappings([_yes_or_no(GOOD, BAD)]).thresholds(_steps((), PLAIN))
    )


def name(title: str, says: str, asked: Dataquery, *, width: int = 4, none: str = "-") -> stat.Panel:
    """The label that the legend of the query names."""
    panel = _stat(title, says, asked, width, none).unit(units.NoUnit).thresholds(_steps((), PLAIN))
    return panel.text_mode(common.BigValueTextMode.NAME)


def _stat(title: str, says: str, asked: Dataquery, width: int, none: str) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(says)
        .datasource(DATASOURCE)
        .targets([*_named([asked])])
        .span(width)
        .height(4)
        .no_value(none)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def bands(title: str, says: str, *queries: Dataquery, width: int = 12) -> statetimeline.Panel:
    """A band for each series, while it is there and not zero."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(says)
        .datasource(DATASOURCE)
        .unit(units.NoUnit)
        .span(width)
        .height(HEIGHT)
        .targets(list(_named(queries)))
        .mappings([_yes_or_no("blue", "transparent")])
        .thresholds(_steps((), PLAIN))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .legend(options.VizLegendOptions().show_legend(False))
    )


def heat_map(title: str, says: str, unit: str, asked: Dataquery, *, width: int = 12) -> heatmap.Panel:
    """A histogram over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(says)
        .datasource(DATASOURCE)
        .span(width)
        .height(HEIGHT)
        .targets([*_named([asked.format(PromQueryFormat.HEATMAP)])])
        .calculate(False)
        .unit(units.RequestsPerSecond)
        .y_axis(heatmap.YAxisConfig().unit(unit))
    )


def rows(
    title: str, says: str, queries: Sequence[Dataquery], names: dict[str, str], styles: Sequence["Column"], *, height: int
) -> table.Panel:
    """One row for each combination of labels that the queries have in common; only the columns that are named, in that order."""
    panel = (
        table.Panel()
        .title(title)
        .description(says)
        .datasource(DATASOURCE)
        .unit(units.NoUnit)
        .span(24)
        .height(height)
        .targets(list(_named(queries)))
        .with_transformation(models.DataTransformerConfig("merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True, **{each: True for each in _values(queries) if each not in names}},
                    "indexByName": {each: place for place, each in enumerate(names)},
                    "renameByName": {old: new for old, new in names.items() if old != new},
                },
            )
        )
        .filterable(True)
        .thresholds(_steps((), PLAIN))
    )
    for column, properties in styles:
        panel.override_by_name(column, [models.DynamicConfigValue(key, value) for key, value in properties.items()])
    return panel


def _values(queries: Sequence[Dataquery]) -> list[str]:
    return [f"Value #{chr(ord('A') + place)}" for place in range(len(queries))]


# --- columns of a table -------------------------------------------------------------------------------------------------
Column = tuple[str, dict[str, object]]
"""Its name, and by what its cells differ from others."""


def in_unit(column: str, unit: str, thresholds: Thresholds = (), first: str = PLAIN) -> Column:
    shown: dict[str, object] = {"unit": unit}
    if thresholds:
        shown |= {"thresholds": _steps(thresholds, first).build(), "custom.cellOptions": common.TableColorTextCellOptions()}
    return column, shown


def said_yes_or_no(column: str, yes: str = GOOD, no: str = BAD) -> Column:
    return column, {"mappings": [_yes_or_no(yes, no)], "custom.cellOptions": common.TableColorTextCellOptions()}


def leading_to(column: str, title: str, url: str) -> Column:
    return column, {"links": [{"title": title, "url": url}]}


def _steps(thresholds: Thresholds, first: str = GOOD) -> builders.ThresholdsConfig:
    steps = [models.Threshold(color=first), *(models.Threshold(value, color) for value, color in thresholds)]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _yes_or_no(yes: str, no: str) -> models.ValueMap:
    said = {"0": models.ValueMappingResult(text="no", color=no), "1": models.ValueMappingResult(text="yes", color=yes)}
    return models.ValueMap(said)
