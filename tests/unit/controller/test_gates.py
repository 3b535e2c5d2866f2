"""Every gate: what passes, what is refused with both values and the way out, and what is waived for all to see."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controller import gates
from controller.api import ModelReference
from controller.artifact import Artifact
from controller.catalogue import minor
from controller.checks import Refusal, Serving, Subject
from controller.environment import Environment, environment
from controller.errors import Stalling
from controller.gates import before_download, before_pods
from controller.policy import Gates, Server, Trust
from controller.quantity import bytes_of
from controller.rollout import Failure, PodGates
from controller.signature import Signature
from tests.unit.controller.factories import catalogue, digest
from tests.unit.controller.test_signature import AGE, signed

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def artifact(**changes: Any) -> Artifact:
    values: dict[str, Any] = {
        "digest": digest(7),
        "size_bytes": 1000,
        "flavors": ("python_function", "sklearn"),
        "serialization": "cloudpickle",
        "model_file": "model.pkl",
        "has_model_file": True,
        "has_code": False,
        "verified": "Answered",
        "environment": Environment("1.9.1", "3.11.4"),
        "signature": AGE,
    }
    return Artifact(**{**values, **changes})


def subject(wanted: dict[str, Any] | None = None, trust: dict[str, Any] | None = None, **changes: Any) -> Subject:
    """Version 7 at the gates."""
    server = Server.model_validate(changes.pop("server", {}))
    values: dict[str, Any] = {
        "reference": ModelReference(name="fraud", alias="champion"),
        "version": "7",
        "gates": Gates.model_validate(wanted or {}),
        "trust": Trust.model_validate(trust or {}),
        "server": server,
        "catalogue": catalogue("server:1", v1_8="server:1.8"),
    }
    return Subject(**{**values, **changes})


def refusal(of: Subject, files: Artifact | None = None) -> Refusal:
    found = before_pods(of, files or artifact()).refusal
    assert found is not None
    return found


def notes(of: Subject, files: Artifact | None = None) -> str:
    judgment = before_pods(of, files or artifact())
    assert judgment.refusal is None, judgment.refusal
    return "; ".join(judgment.notes)


def test_a_sound_model_passes_in_silence() -> None:
    assert notes(subject()) == ""
    assert before_download(subject()) == gates.Judgment()


class TestSize:
    def test_a_large_model_is_refused_with_both_values(self) -> None:
        found = refusal(subject({"maxSize": "1Ki"}), artifact(size_bytes=2048))
        assert found.reason == "ModelTooLarge"
        assert "2,048 bytes (2.0 KiB); gates.maxSize (the spec's, or by the operator's default) is 1Ki" in found.message
        assert "raise spec.gates.maxSize" in found.message

    def test_the_registry_is_enough_to_refuse_it(self) -> None:
        found = before_download(subject({"maxSize": "1Ki"}, size_bytes=1025)).refusal
        assert found is not None
        assert found.reason == "ModelTooLarge"
        assert before_download(subject({"maxSize": "1Ki"}, size_bytes=1024)).refusal is None


class TestEnvironment:
    def test_the_minor_versions_decide(self) -> None:
        assert notes(subject(), artifact(environment=Environment("1.9.0", "3.11.14"))) == ""
        assert notes(subject(), artifact(environment=Environment("1.8.2", "3.11.4"))) == ""

    def test_a_scikit_learn_that_nobody_offers_is_refused_with_the_catalogue(self) -> None:
        found = refusal(subject(), artifact(environment=Environment("1.7.2", "3.11.4")))
        assert found.reason == "EnvironmentMismatch"
        assert "logged with scikit-learn 1.7.2" in found.message
        assert "sklearn-1.9 (scikit-learn 1.9, Python 3.11), sklearn-1.8 (scikit-learn 1.8, Python 3.11)" in found.message
        assert "spec.gates.environment: Warn to try it on sklearn-1.9" in found.message
        assert "waivers: [{version: 7, gate: Environment, reason: ...}]" in found.message

    def test_a_pickle_of_another_python_is_refused_and_a_skops_file_is_not(self) -> None:
        other = Environment("1.9.1", "3.12.3")
        assert "logged with Python 3.12.3" in refusal(subject(), artifact(environment=other)).message
        assert notes(subject(), artifact(environment=other, serialization="skops")) == ""

    def test_warn_takes_the_default_and_says_so(self) -> None:
        told = notes(subject({"environment": "Warn"}), artifact(environment=Environment("1.7.2", "3.11.4")))
        assert told == "it was logged with scikit-learn 1.7.2, and its server is sklearn-1.9 (scikit-learn 1.9, Python 3.11)"

    def test_a_named_runtime_is_what_counts(self) -> None:
        found = refusal(subject(server={"runtime": "sklearn-1.8"}))
        assert "spec.server.runtime is sklearn-1.8" in found.message
        assert "set spec.server.runtime: Auto" in found.message

    def test_a_runtime_that_is_not_there_is_refused_with_those_that_are(self) -> None:
        with pytest.raises(Stalling, match=r"RuntimeUnknown.*'sklearn-2.0'; the operator has sklearn-1.9 .*, and Auto"):
            before_pods(subject(server={"runtime": "sklearn-2.0"}), artifact())

    def test_an_image_of_ones_own_is_not_judged(self) -> None:
        assert notes(subject(server={"image": "mine:1"}), artifact(environment=Environment("0.1", "2.7"))) == ""

    def test_a_model_that_says_nothing_gets_the_default_and_that_is_said(self) -> None:
        assert "does not say its scikit-learn, and its server is sklearn-1.9" in notes(
            subject(), artifact(environment=Environment())
        )


class TestSignature:
    SERVING = Serving(version="6", artifact=artifact(signature=signed(age="long", plan="string")))

    def test_a_breaking_one_is_refused_with_columns_and_ways_out(self) -> None:
        found = refusal(subject(serving=self.SERVING))
        assert found.reason == "SignatureBreaking"
        assert "version 6, which serves now, would break: input 'plan' (string) is gone" in found.message
        assert "spec.gates.signature: Any" in found.message
        assert "waivers: [{version: 7, gate: Signature, reason: ...}]" in found.message

    def test_any_compares_nothing(self) -> None:
        assert notes(subject({"signature": "Any"}, serving=self.SERVING)) == ""

    def test_a_wider_one_passes_and_says_so(self) -> None:
        told = notes(subject(serving=Serving(version="6", artifact=artifact(signature=signed(age="integer")))))
        assert told == "its signature widens that of version 6: input 'age' takes long, before integer"

    def test_without_signatures_it_is_said_what_was_compared(self) -> None:
        bare = artifact(signature=Signature())
        told = notes(subject(serving=Serving(version="6", artifact=bare)), bare)
        assert told.endswith("; version 6 and version 7 recorded no signature, so only the form of a request was compared")

    def test_that_nobody_checks_what_is_sent_to_a_model_without_one_stays_visible(self) -> None:
        for arriving in (True, False):
            told = notes(subject(arriving=arriving), artifact(signature=Signature()))
            assert told.startswith("it has no signature: a request is an array of values, whose types nobody checks")

    def test_what_serves_and_cannot_be_read_stops_nobody_without_a_sentence(self) -> None:
        found = refusal(subject(serving=Serving(version="6", artifact=None)))
        assert found.reason == "SignatureUnknown"
        assert "spec.gates.signature: Any" in found.message

    def test_the_first_version_has_nothing_to_be_compared_with(self) -> None:
        assert notes(subject(serving=None)) == ""


class TestTagsAndMetrics:
    TAGS = {"tags": [{"key": "validation_status", "value": "approved"}]}  # noqa: RUF012  never written to
    METRICS = {"metrics": [{"name": "f1", "min": 0.8}, {"name": "loss", "min": 0, "max": 1}]}  # noqa: RUF012  never written to

    def test_a_missing_tag_is_refused_before_the_download_and_looked_at_again(self) -> None:
        for tags, told in (({}, "has no such tag"), ({"validation_status": "pending"}, "has 'pending'")):
            found = before_download(subject(self.TAGS, tags=tags)).refusal
            assert found is not None
            assert found.reason == "TagMissing"
            assert f"asks for validation_status=approved, and the version {told}" in found.message
            assert found.again

    def test_the_right_tag_passes(self) -> None:
        assert notes(subject(self.TAGS, tags={"validation_status": "approved", "other": "x"})) == ""

    @pytest.mark.parametrize(
        ("metrics", "reason", "told"),
        [
            ({}, "MetricMissing", "asks for f1 of at least 0.8, and the version's run has no metrics"),
            ({"auc": 1.0}, "MetricMissing", "run has auc"),
            ({"f1": 0.7, "loss": 0.5}, "MetricOutOfRange", "f1 of the version's run is 0.7; gates.metrics asks for at least 0.8"),
            ({"f1": 0.9, "loss": 1.5}, "MetricOutOfRange", "is 1.5; gates.metrics asks for at least 0 and at most 1"),
            ({"f1": float("nan"), "loss": 0.5}, "MetricOutOfRange", "f1 of the version's run is nan"),
        ],
    )
    def test_a_metric_that_is_missing_or_outside_is_refused(self, metrics: dict[str, float], reason: str, told: str) -> None:
        found = before_download(subject(self.METRICS, metrics=metrics)).refusal
        assert found is not None
        assert found.reason == reason
        assert told in found.message

    def test_the_bounds_themselves_pass(self) -> None:
        assert notes(subject(self.METRICS, metrics={"f1": 0.8, "loss": 1.0})) == ""


class TestTrust:
    def test_a_pickle_is_refused_where_pickles_are_denied(self) -> None:
        found = refusal(subject(trust={"pickle": "Deny"}))
        assert found.reason == "PickleDenied"
        assert "written with cloudpickle" in found.message
        assert "serialization_format='skops', or set spec.trust.pickle: Allow" in found.message
        assert notes(subject(trust={"pickle": "Deny"}), artifact(serialization="skops")) == ""

    def test_types_from_elsewhere_are_refused_with_what_to_allow(self) -> None:
        files = artifact(serialization="skops", foreign_types=("own.Type", "other.Thing"))
        found = refusal(subject(), files)
        assert found.reason == "TypesUntrusted"
        assert "spec.trust.skopsTypes: [own.Type, other.Thing]" in found.message
        assert "[other.Thing]" in refusal(subject(trust={"skopsTypes": ["own.Type"]}), files).message
        assert notes(subject(trust={"skopsTypes": ["other.Thing", "own.Type"]}), files) == ""

    def test_it_holds_for_what_serves_too(self) -> None:
        assert refusal(subject(trust={"pickle": "Deny"}, arriving=False)).reason == "PickleDenied"


class TestWaivers:
    WAIVER = {"version": 7, "gate": "Signature", "reason": "agreed with the clients"}  # noqa: RUF012  never written to

    def test_what_is_waived_passes_for_all_to_see(self) -> None:
        told = notes(subject({"waivers": [self.WAIVER]}, serving=TestSignature.SERVING))
        assert told == "waived: Signature for version 7 (agreed with the clients)"

    def test_it_stays_visible_when_the_version_serves(self) -> None:
        assert "waived: Signature for version 7" in notes(subject({"waivers": [self.WAIVER]}, arriving=False))

    def test_another_version_or_gate_is_not_waived(self) -> None:
        for other in ({**self.WAIVER, "version": 8}, {**self.WAIVER, "gate": "Tags"}):
            assert refusal(subject({"waivers": [other]}, serving=TestSignature.SERVING)).reason == "SignatureBreaking"

    def test_the_next_gate_still_holds(self) -> None:
        wanted = {"waivers": [self.WAIVER], **TestTagsAndMetrics.TAGS}
        assert refusal(subject(wanted, serving=TestSignature.SERVING)).reason == "TagMissing"

    def test_the_digest_cannot_be_waived(self) -> None:
        reference = ModelReference(name="fraud", version="7", digest=digest(8))
        waivers = [{**self.WAIVER, "gate": gate} for gate in ("Size", "Environment", "Signature", "Tags", "Metrics", "Trust")]
        assert refusal(subject({"waivers": waivers}, reference=reference)).reason == "DigestMismatch"


def test_what_serves_or_served_is_not_judged_anew() -> None:
    tightened = {"maxSize": "1", **TestTagsAndMetrics.TAGS, **TestTagsAndMetrics.METRICS}
    again = subject(tightened, arriving=False, serving=TestSignature.SERVING)
    assert notes(again) == ""
    assert before_download(again).refusal is None
    assert "logged with scikit-learn 1.7.2" in notes(again, artifact(environment=Environment("1.7.2", "3.11.4")))


class TestInPods:
    WANTED = Gates.model_validate({"maxLoadSeconds": 5, "maxLatencyP95Milliseconds": 20})

    def judged(self, wanted: Gates = WANTED, served: tuple[str, ...] = ()) -> PodGates | None:
        return gates.in_pods(wanted, "7", digest(7), served, NOW)

    def test_new_files_are_judged_until_then(self) -> None:
        found = self.judged()
        assert found is not None
        assert (found.max_load_seconds, found.max_latency_p95_milliseconds) == (5, 20)
        assert found.until == NOW

    def test_files_that_served_before_are_not(self) -> None:
        assert self.judged(served=(digest(7),)) is None
        assert self.judged(served=(digest(6),)) is not None

    def test_a_waiver_takes_one_of_them_away(self) -> None:
        waiver = {"version": 7, "gate": "Latency", "reason": "x"}
        found = self.judged(Gates.model_validate({"maxLoadSeconds": 5, "maxLatencyP95Milliseconds": 20, "waivers": [waiver]}))
        assert found is not None
        assert (found.max_load_seconds, found.max_latency_p95_milliseconds) == (5, None)

    def test_without_such_gates_pods_judge_nothing(self) -> None:
        assert self.judged(Gates()) is None

    @pytest.mark.parametrize(
        ("present", "expected"),
        [
            ({"maxLatencyP95Milliseconds": 21}, True),
            ({"maxLatencyP95Milliseconds": 20, "maxLoadSeconds": 60}, False),
            ({"maxLatencyP95Milliseconds": 19}, False),
            ({"maxLoadSeconds": 5}, True),
            ({}, True),
        ],
    )
    def test_a_version_that_was_too_slow_may_pass_once_its_gate_allows_more(
        self, present: dict[str, int], expected: bool
    ) -> None:
        failure = Failure(reason="LatencyTooHigh", message="m", by_version=True, at=NOW, limit=20)
        assert gates.lifted(failure, self.judged(Gates.model_validate(present))) is expected

    def test_what_had_another_cause_is_not_lifted_by_any_gate(self) -> None:
        assert gates.lifted(Failure(reason="LoadFailed", message="m", by_version=True, at=NOW), None) is False

    def test_a_latency_that_nothing_can_measure_is_refused_before_a_pod_starts(self) -> None:
        found = refusal(subject({"maxLatencyP95Milliseconds": 20}), artifact(verified="Loaded"))
        assert found.reason == "ExampleMissing"
        assert notes(subject({"maxLatencyP95Milliseconds": 20}), artifact(verified="Executed")) == ""


class TestDefaults:
    OPERATOR = Gates.model_validate({"maxSize": "1Gi", "environment": "Warn", **TestTagsAndMetrics.TAGS})

    def test_the_operator_speaks_where_the_spec_does_not(self) -> None:
        effective = Gates.model_validate({"environment": "Strict"}).with_defaults(self.OPERATOR)
        assert (effective.max_size, effective.environment) == ("1Gi", "Strict")
        assert [tag.key for tag in effective.tags] == ["validation_status"]

    def test_types_add_up_and_pickles_are_one_or_the_other(self) -> None:
        operator = Trust.model_validate({"pickle": "Deny", "skopsTypes": ["a.B"]})
        effective = Trust.model_validate({"skopsTypes": ["c.D"]}).with_defaults(operator)
        assert (effective.pickle, effective.skops_types) == ("Deny", ["a.B", "c.D"])
        assert Trust.model_validate({"pickle": "Allow"}).with_defaults(operator).pickle == "Allow"


@pytest.mark.parametrize(
    ("flavors", "files", "expected"),
    [
        (
            {"sklearn": {"sklearn_version": "1.9.1"}, "python_function": {"python_version": "3.11.4"}},
            {"requirements.txt": "scikit-learn==1.8.0"},
            ("1.9.1", "3.11.4"),
        ),
        (
            {},
            {"requirements.txt": "pip==1\nscikit-learn==1.8.0\n", "python_env.yaml": "python: 3.12.1\n"},
            ("1.8.0", "3.12.1"),
        ),
        ({}, {"conda.yaml": "dependencies:\n- python=3.10.2\n- pip:\n  - scikit-learn==1.7.2\n"}, ("1.7.2", "3.10.2")),
        ({}, {"requirements.txt": "scikit-learn>=1.2\nscikit-learn-extra==0.3"}, ("", "")),
        ({"sklearn": {"sklearn_version": ["1"]}}, {}, ("", "")),
    ],
)
def test_the_environment_is_read_from_what_mlflow_writes(
    flavors: dict[str, Any], files: dict[str, str], expected: tuple[str, str]
) -> None:
    found = environment(flavors, lambda path: files.get(path, ""))
    assert (found.scikit_learn, found.python) == expected


@pytest.mark.parametrize(
    ("version", "expected"), [("1.9.1", "1.9"), ("1.9", "1.9"), ("1.10.0rc1", "1.10"), ("1.9rc1", "1.9"), ("dev", ""), ("", "")]
)
def test_the_minor_of_a_version(version: str, expected: str) -> None:
    assert minor(version) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024", 1024),
        ("1Ki", 1024),
        ("500Mi", 500 * 1024**2),
        ("1.5Gi", 3 * 2**29),
        ("1k", 1000),
        ("1e3", 1000),
        ("2E", 2 * 10**18),
    ],
)
def test_quantities_as_kubernetes_writes_them(text: str, expected: int) -> None:
    assert bytes_of(text) == expected
