"""What a person reads at the end: how good the version is, where it is, and what to do with it. Pure."""

import re
import unicodedata

import yaml

from training.figures import shown
from training.names import without_secret
from training.pipeline_run import Outcome
from training.settings import RunSettings

ASKED = "<name>"
"""Where a person has to put a name. Kubernetes takes none like this."""
SPELLED = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})  # noqa: RUF001
"""Letters that Unicode does not take apart into one of a to z and an accent."""


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
        to_apply(manifest(settings, outcome.version.number)),
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
            "metadata": {"name": resource_name(name) or ASKED},
            "spec": {"model": {"name": name, **chosen}, **({"server": {"image": image}} if image else {})},
        },
        sort_keys=False,
        allow_unicode=True,
    )


def to_apply(resource: str) -> str:
    """The resource, and what to do with it."""
    name = f" with a name of yours for {ASKED} (lower-case letters, digits and hyphens)" if ASKED in resource else ""
    return f"To serve it, kubectl apply this{name}:\n\n{resource}"


def resource_name(model: str) -> str | None:
    """A name that a Service can have: lower-case letters, digits and hyphens, a letter first, at most 63. None where nothing of
    the model's own name can be in it: every other such model would have the same one."""
    letters = unicodedata.normalize("NFKD", model).lower().translate(SPELLED)
    plain = re.sub(r"[^a-z0-9]+", "-", "".join(letter for letter in letters if not unicodedata.combining(letter))).strip("-")
    named = plain if plain[:1].isalpha() else f"model-{plain}"
    return named[:63].strip("-") if plain else None
