"""values.yaml, its schema and the README say the same, and what is wrong is refused in words that help."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart import documentation
from tests.chart.rendering import CHART, REGISTRIES, Helm

MAIN = REGISTRIES[0]
KEY = {"name": "a", "key": "b"}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def _objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that lists properties."""
    if isinstance(schema, dict):
        if "properties" in schema and not isinstance(schema["properties"], list) and schema.get("type") == "object":
            yield path, schema
        for key, child in schema.items():
            yield from _objects(child, f"{path}/{key}")


def test_the_chart_passes_helm_lint(helm: Helm) -> None:
    done = helm.run("lint", "--strict", CHART, values={"registries": REGISTRIES})
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_and_schema_say_what_the_comments_say() -> None:
    pods = "replicas: 2\n"
    commented = documentation.VALUES.read_text().replace(pods, f"{pods}\n# -- The new\n# value.\nlogs.more: [1]\n")
    values = documentation.documented(commented)
    assert values["logs.more"] == ([1], "The new value.")
    rows = documentation.readme(documentation.README.read_text(), values)
    assert "| `logs.more` | `[1]` | The new value. |\n| `logs.level` |" in rows
    said = {path: (default, f"{said} Really.") for path, (default, said) in values.items() if path == "store.sizeLimit"}
    schema = json.loads(documentation.schema(documentation.SCHEMA.read_text(), said))
    assert schema["properties"]["store"]["properties"]["sizeLimit"]["description"].endswith(" Really.")


def test_a_value_without_a_comment_is_not_documented() -> None:
    with pytest.raises(ValueError, match="says nothing about store"):
        documentation.documented("store:\n  more: 1\n")


def test_the_schema_describes_every_property_and_allows_no_other() -> None:
    objects = dict(_objects(SCHEMA))
    assert len(objects) > 10
    for path, schema in objects.items():
        assert schema["additionalProperties"] is False, path
        for name, child in schema["properties"].items():
            assert child.get("description"), f"{path}/{name}"


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    def names(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, child in schema["properties"].items():
            target = SCHEMA["definitions"][child["$ref"].rsplit("/", 1)[1]] if "$ref" in child else child
            if "properties" in target and f"{prefix}{name}" not in leaves:
                yield from names(target, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    leaves = documentation.documented(documentation.VALUES.read_text()).keys()
    assert set(names(SCHEMA)) - {"global"} == set(leaves)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 3}, "'replica'"),
        ({"image": {"repo": "operator"}}, "'repo'"),
        ({"store": {"sizelimit": "1Gi"}}, "'sizelimit'"),
        ({"registries": [{"name": "main", "url": "http://mlflow"}]}, "'url'"),
        ({"registries": [{"name": "main"}]}, "'uri'"),
        ({"registries": [{"name": "main", "uri": "mlflow:5000"}]}, "/registries/0/uri"),
        ({"registries": [{"name": "main", "uri": "http://u:$(POD_NAME)@mlflow"}]}, "/registries/0/uri"),
        ({"registries": [{**MAIN, "auth": {"basic": "x"}}]}, "'basic'"),
        ({"registries": [{**MAIN, "auth": {"basicSecret": {"name": "a"}, "bearerSecret": KEY}}]}, "/registries/0/auth"),
        ({"registries": [{**MAIN, "auth": {"bearerSecret": {"name": "a"}}}]}, "'key'"),
        ({"registries": [{**MAIN, "auth": {"basicSecret": {"name": "It"}}}]}, "/registries/0/auth/basicSecret/name"),
        ({"registries": [{**MAIN, "headers": [{"name": "X-A"}]}]}, "/registries/0/headers/0"),
        ({"registries": [{**MAIN, "headers": [{"name": "X A", "value": "b"}]}]}, "/registries/0/headers/0/name"),
        ({"registries": [{**MAIN, "headers": [{"name": "X-A", "value": "$(POD_NAME)"}]}]}, "/registries/0/headers/0/value"),
        ({"registries": [{**MAIN, "headers": [{"name": "Cookie", "value": "a=b"}]}]}, "put its value into a Secret"),
        ({"registries": [{**MAIN, "caSecret": KEY, "caConfigMap": KEY}]}, "/registries/0"),
        ({"registries": [{**MAIN, "allowedNamespaces": [""]}]}, "/registries/0/allowedNamespaces/0"),
        ({"registries": [{"name": "main", "uri": "https://me:pw@mlflow"}]}, "auth.basicSecret"),
        ({"replicas": 0}, "/replicas"),
        ({"pollSeconds": 0}, "/pollSeconds"),
        ({"watchNamespaces": ["team", "team"]}, "/watchNamespaces"),
        ({"watchNamespaces": ["team-*"]}, "/watchNamespaces/0"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"store": {"sizeLimit": "20 GB"}}, "/store/sizeLimit"),
        ({"store": {"keepUnusedSeconds": 0}}, "/store/keepUnusedSeconds"),
        ({"podLabels": {"cost": 7}}, "/podLabels/cost"),
        ({"serverImage": {"scikitLearn": 1.9}}, "/serverImage/scikitLearn"),
        ({"runtimes": [{"name": "old", "image": "server:1", "scikitLearn": "1.8"}]}, "'python'"),
        ({"defaults": {"gates": {"maxSize": "500 MB"}}}, "/defaults/gates/maxSize"),
        ({"defaults": {"gates": {"waivers": []}}}, "'waivers'"),
        ({"defaults": {"gates": {"metrics": [{"name": "f1"}]}}}, "/defaults/gates/metrics/0"),
        ({"defaults": {"trust": {"pickle": "Never"}}}, "/defaults/trust/pickle"),
        ({"defaults": {"server": {"engine": "Fast"}}}, "/defaults/server/engine"),
        ({"defaults": {"server": {"image": "own:1"}}}, "'image'"),
        ({"defaults": {"server": {"accessLogsPerSecond": -1}}}, "/defaults/server/accessLogsPerSecond"),
        ({"logs": {"level": "Debug"}}, "/logs/level"),
        ({"extraEnv": [{"name": "MLSERVING_OPERATOR_SETTINGS", "value": "{}"}]}, "/extraEnv/0/name"),
        ({"extraEnv": [{"name": "HTTPS_PROXY"}]}, "/extraEnv/0"),
        ({"networkPolicy": {"egress": [{}]}}, "/networkPolicy/egress/0"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "/topologySpreadConstraints/0"),
        ({"policies": [{"name": "teams"}]}, "/policies/0"),
        ({"policies": [{"name": "teams", "trust": {"pickle": "Allow"}}]}, "/policies/0/trust/pickle"),
        ({"policies": [{"name": "teams", "images": ["it's"]}]}, "/policies/0/images/0"),
        ({"policies": [{"name": "teams", "maxReplicas": 0}]}, "/policies/0/maxReplicas"),
        ({"policies": [{"name": "teams", "maxReplicas": 1}] * 2}, 'two entries named "teams"'),
        ({"defaults": {"compileMemory": "1 GB"}}, "/defaults/compileMemory"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, values: dict[str, Any], said: str) -> None:
    assert said in helm.refusal(**values)


def test_without_a_registry_the_sentence_says_what_to_set(helm: Helm) -> None:
    said = helm.refusal(registries=[])
    assert "registries is empty" in said
    (arguments,) = re.findall(r"such as (--set .*)\)?$", said, re.MULTILINE)
    flags = re.findall(r"'(.*?)'", arguments)
    done = helm.template({}, *(word for flag in flags for word in ("--set", flag)))
    assert done.returncode == 0, "what the sentence proposes works"


def test_two_registries_of_one_name_are_refused(helm: Helm) -> None:
    assert 'two entries named "main"' in helm.refusal(registries=REGISTRIES * 2)


def test_two_runtimes_of_one_name_or_one_scikit_learn_are_refused(helm: Helm) -> None:
    runtime = {"name": "old", "image": "server:1.8", "scikitLearn": "1.8", "python": "3.11"}
    assert 'an entry named "old"' in helm.refusal(runtimes=[runtime, {**runtime, "scikitLearn": "1.7"}])
    assert 'an entry named "sklearn-1.9"' in helm.refusal(runtimes=[{**runtime, "name": "sklearn-1.9"}])
    assert "a second image for scikit-learn 1.9" in helm.refusal(runtimes=[{**runtime, "scikitLearn": "1.9"}])


def test_a_kubernetes_without_the_sleep_action_is_refused(helm: Helm) -> None:
    assert "1.30" in helm.refusal("--kube-version", "1.29.4")
    assert helm.render("--kube-version", "1.30.1").all("StatefulSet")
