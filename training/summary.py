"""What a person reads at the end: how good the version is, where it is, and what to do with it. Pure."""

import re

import yaml

from training.figures import shown
from training.names import without_secret
from training.pipeline_run import Outcome
from training.settings import RunSettings


def summary(outcome: Outcome, settings: RunSettings) -> str:
    """The figures, the version, and the ModelDeployment that serves it."""
    lines = ["", f"  {'':<11} {f'{settings.folds} folds':<16} test"]
    for metric, value in outcome.test.items():
        spread = outcome.folds[metric]
        folds = f"{shown(metric, spread.mean)} ± {shown(metric, spread.std, spread.mean)}"
        lines.append(f"  {metric:<11} {folds:<16} {shown(metric, value, spread.mean)}")
    if outcome.positive is not None:
        lines.append(f"  precision, recall and F1 are those of class {outcome.positive}")
    lines += ["", f"  {'model':<11} {settings.name}", f"  {'version':<11} {outcome.version.number}"]
    if settings.alias:
        lines.append(f"  {'alias':<11} {settings.alias}")
    lines += [
        f"  {'MLflow':<11} {outcome.version.url or without_secret(settings.tracking_uri)}",
        "",
        "To serve it, kubectl apply this:",
        "",
        manifest(settings, outcome.version.number),
    ]
    return "\n".join(lines)


def manifest(settings: RunSettings, version: str) -> str:
    """A ModelDeployment that follows the alias, or names the version where there is none."""
    return resource_yaml(settings.name, version, settings.alias)


def resource_yaml(name: str, version: str, alias: str | None, *, image: str | None = None) -> str:
    """The same for any model; an image of its own where the operator's lacks packages."""
    chosen = {"alias": alias} if alias else {"version": version}
    return yaml.safe_dump(
        {
            "apiVersion": "mlserving.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": resource_name(name)},
            "spec": {"model": {"name": name, **chosen}, **({"server": {"image": image}} if image else {})},
        },
        sort_keys=False,
        allow_unicode=True,
    )


def resource_name(model: str) -> str:
    """A name that a Service can have: lower-case letters, digits and hyphens, a letter first, at most 63."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    named = plain if plain[:1].isalpha() else f"model-{plain}"
    return named[:63].strip("-")
