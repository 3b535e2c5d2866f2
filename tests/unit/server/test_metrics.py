"""Label values are few, whatever a model says."""

from server.metrics import MAX_CLASSES, Metrics, PredictionClasses


def test_a_class_is_its_label_until_there_are_too_many() -> None:
    classes = PredictionClasses(list(range(MAX_CLASSES + 50)))
    seen = {classes.of(label) for label in range(MAX_CLASSES + 50)}
    assert len(seen) == MAX_CLASSES + 1 and {"0", "other"} <= seen


def test_labels_are_written_as_json_writes_them() -> None:
    assert [PredictionClasses([False, True]).of(label) for label in (False, True)] == ["false", "true"]
    assert PredictionClasses(["spam"]).of("spam") == "spam"


def test_a_number_is_no_class() -> None:
    assert {PredictionClasses(None).of(number) for number in (1.5, 2.5)} == {"value"}
    assert PredictionClasses([0, 1]).of([0, 1]) == "value"


def test_two_pods_in_one_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.errors.labels("Overloaded").inc()
    assert other.registry.get_sample_value("ml_prediction_errors_total", {"error_type": "Overloaded"}) is None
