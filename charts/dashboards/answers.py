"""What clients of a ModelDeployment get: how much, how fast, which classes, and whether as promised."""

from grafana_foundation_sdk.models import common, units

from charts.dashboards.boards import CHOSEN
from charts.dashboards.panels import BAD, WARNING, Panel, graph, heat_map, query

ROWS_PREDICTED = f"sum by (namespace, modeldeployment) (modeldeployment_prediction_class:ml_predictions:rate5m{{{CHOSEN}}})"
BURNS = ((1, WARNING), (6, BAD))


def traffic() -> list[Panel]:
    return [
        graph(
            "Requests",
            "Requests that a server could answer, and those of them that failed; what was refused for what the client sent is not"
            " among them.",
            units.RequestsPerSecond,
            query(f"modeldeployment:ml_requests:rate5m{{{CHOSEN}}}", "requests"),
            query(f"modeldeployment:ml_request_errors:rate5m{{{CHOSEN}}}", "of them failed"),
            width=8,
        ),
        graph(
            "Requests without a prediction, by error",
            "By the type in the error's body. InvalidBody, InvalidFeatures and the like (400, 422) are the client's; Overloaded"
            " and NotReady (503), PredictionTooSlow (504) and Internal (500) count against the budget. server/README.md lists"
            " all.",
            units.RequestsPerSecond,
            query(f"modeldeployment_error_type:ml_prediction_errors:rate5m{{{CHOSEN}}}", "{{error_type}}"),
            width=8,
            stacked=common.StackingMode.NORMAL,
        ),
        graph(
            "Share of failures",
            "Failed requests of all that could be answered, and the share that the promised availability allows for good. Above"
            " it the budget shrinks; the logs of the pods say what fails.",
            units.PercentUnit,
            query(f"modeldeployment:ml_request_errors:ratio_rate5m{{{CHOSEN}}}", "failed"),
            query(f"modeldeployment:slo_availability:error_budget{{{CHOSEN}}}", "allowed"),
            width=8,
        ),
    ]


def latency() -> list[Panel]:
    quantiles = f"modeldeployment_quantile:ml_prediction_latency_seconds:histogram_quantile{{{CHOSEN}}}"
    return [
        graph(
            "Latency",
            "Within which time that share of the requests was answered, waiting in the pod included. When the high quantiles"
            " rise and the low ones stay, pods are at their limit: see Saturation. When all rise, the model or its engine"
            " changed.",
            units.Seconds,
            query(quantiles, "quantile {{quantile}}"),
            query(f"max(modeldeployment_slo_latency_seconds{{{CHOSEN}}})", "promised for 99 of 100"),
        ),
        heat_map(
            "Latency, every request",
            "How many requests a second were answered in which time. Two bands are two kinds of requests, or of pods: quantiles"
            " hide that.",
            units.Seconds,
            query(f"sum by (le) (modeldeployment_le:ml_prediction_latency_seconds_bucket:rate5m{{{CHOSEN}}})", "{{le}}"),
        ),
    ]


def predictions() -> list[Panel]:
    of_classes = f"modeldeployment_prediction_class:ml_predictions:rate5m{{{CHOSEN}}}"
    return [
        graph(
            "Predicted classes",
            "Share of each class among the predictions (`value`: a regression). A shift without a rollout means that what is"
            " asked has changed; one at a rollout means that the model judges otherwise.",
            units.PercentUnit,
            query(
                f"sum by (prediction_class) ({of_classes}) / ignoring (prediction_class) group_left () (sum({of_classes}) > 0)",
                "{{prediction_class}}",
            ),
            width=8,
            stacked=common.StackingMode.NORMAL,
            most=1,
        ),
        graph(
            "Predictions by version",
            "Which version answered. Two for longer than a rollout takes: pods of one model disagree"
            " (ModelDeploymentVersionSkew).",
            units.CountsPerSecond,
            query(f"sum by (model_version) ({of_classes})", "version {{model_version}}"),
            width=8,
            stacked=common.StackingMode.NORMAL,
        ),
        graph(
            "Values outside of what training has seen",
            "Share of rows, for the ten features that are worst. Above the line for an hour there is an alert: the answers are"
            " guesses; check where the feature comes from, or train anew.",
            units.PercentUnit,
            query(
                f"topk(10, modeldeployment_feature:ml_out_of_range:rate5m{{{CHOSEN}}}"
                f" / on (namespace, modeldeployment) group_left () ({ROWS_PREDICTED} > 0))",
                "{{feature}}",
            ),
            width=8,
            thresholds=((0.2, BAD),),
        ),
    ]


def objectives() -> list[Panel]:
    def burn(of: str, title: str, says: str) -> Panel:
        return graph(
            title,
            says,
            units.NoUnit,
            *(query(f"{of}:burnrate{window}{{{CHOSEN}}}", window) for window in ("5m", "1h", "6h", "3d")),
            width=8,
            thresholds=BURNS,
        )

    means = "1: the budget lasts for just the time that the promise is about; 14.4 for an hour, or 6 for six, wakes somebody up."
    return [
        burn(
            "modeldeployment:slo_availability", "Failures: burn rate", f"How fast the budget of failed requests is spent. {means}"
        ),
        burn("modeldeployment:slo_latency", "Late answers: burn rate", f"How fast the budget of late answers is spent. {means}"),
        graph(
            "Budget of three days left",
            "Share of the budget of the last three days that is left, at each moment. At 0 it is spent, which is the pace of a"
            " ticket.",
            units.PercentUnit,
            query(f"1 - modeldeployment:slo_availability:burnrate3d{{{CHOSEN}}}", "failures"),
            query(f"1 - modeldeployment:slo_latency:burnrate3d{{{CHOSEN}}}", "late answers"),
            width=8,
        ),
    ]
