"""The policies for teams, as far as they can be seen without an API server; tests/cluster asks a real one what they do."""

from typing import Any

from tests.chart.rendering import NAME, NAMESPACE, Helm, Rendered

POLICY = "ValidatingAdmissionPolicy"
BINDING = f"{POLICY}Binding"
TEAMS: dict[str, Any] = {"name": "teams", "namespaceSelector": {"matchLabels": {"tier": "team"}}, "maxReplicas": 4}


def expressions(rendered: Rendered, name: str) -> list[str]:
    policy = rendered.one(POLICY, f"{NAMESPACE}.{NAME}.{name}")
    return [each["expression"] for each in policy["spec"]["validations"]]


def test_there_are_none_unless_they_are_wanted(rendered: Rendered) -> None:
    assert not rendered.all(POLICY)
    assert not rendered.all(BINDING)


def test_each_denies_where_its_selector_says(helm: Helm) -> None:
    rendered = helm.render(policies=[TEAMS, {"name": "everybody", "images": []}])
    names = {policy["metadata"]["name"] for policy in rendered.all(POLICY)}
    assert names == {f"{NAMESPACE}.{NAME}.{name}" for name in ("teams", "teams.scale", "everybody")}
    for name in names:
        binding = rendered.one(BINDING, name)["spec"]
        assert (binding["policyName"], binding["validationActions"]) == (name, ["Deny"])
        selected = binding.get("matchResources", {}).get("namespaceSelector")
        assert selected == (None if "everybody" in name else TEAMS["namespaceSelector"])


def test_what_a_spec_does_not_say_is_what_the_chart_says(helm: Helm) -> None:
    policies = [{"name": "strict", "trust": {"pickle": "Deny"}, "maxResources": {"cpu": 4}}]
    by_default = expressions(helm.render(policies=policies), "strict")
    denied = {"trust": {"pickle": "Deny"}, "resources": {"limits": {"cpu": None}}}
    changed = expressions(helm.render(policies=policies, defaults=denied), "strict")
    assert "'Allow') == 'Deny'" in by_default[0]
    assert "'Deny') == 'Deny'" in changed[0]
    assert "limits.?cpu.orValue('2')" in by_default[-1]
    assert "limits.?cpu.orValue('')" in changed[-1], "no limit at all is more than any"


def test_two_releases_of_one_name_have_policies_of_their_own(helm: Helm) -> None:
    one, other = (helm.render("--namespace", namespace, policies=[TEAMS]) for namespace in (NAMESPACE, "another"))
    names = [{each["metadata"]["name"] for each in rendered.all(POLICY)} for rendered in (one, other)]
    assert not names[0] & names[1]
