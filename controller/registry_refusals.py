"""Why a registry gave no answer, and what to do about it: pure.

What a server or an error `said` is shown to everybody who reads the resource: who hands it in has masked what is secret.
"""

import ssl
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from controller.errors import Stalling, Waiting
from controller.settings import RegistrySettings
from controller.text import bounded

PATIENCE = 60.0
"""Seconds until the next try where a person has to change something first."""
WAY_OUT = "what runs goes on, and the operator asks again by itself; look at that MLflow server, or correct the registry's uri"
UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's X509_V_ERR codes that say: whoever signed this is not among those I trust."""


class NoAnswer(Waiting):
    """Nobody is there, or nobody answers in time."""


class CutShort(NoAnswer):
    """An answer that began well and was never finished; who asked knows what of."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request takes of MLflow."""

    permission: str
    files: bool = False
    """MLflow has to reach the storage of the artifacts."""

    @classmethod
    def to_read_model(cls, name: str) -> Self:
        return cls(f"READ on the registered model {name!r}")

    @classmethod
    def to_read_experiment(cls, experiment: str) -> Self:
        return cls(f"READ on experiment {bounded(experiment, 50)}, in which the version was logged")

    @classmethod
    def to_read_run(cls, run_id: str) -> Self:
        return cls(f"READ on the experiment{f' of run {run_id}' if run_id else ''}, in which the version was logged")


def forbidden(registry: RegistrySettings, namespace: str, model: str) -> Stalling | None:
    """Why a resource in `namespace` may not name `model` of this registry, or None where it may."""
    for what, value, patterns, setting in (
        ("namespace", namespace, registry.allowed_namespaces, "allowedNamespaces"),
        ("model", model, registry.allowed_models, "allowedModels"),
    ):
        if patterns and not any(fnmatchcase(value, pattern) for pattern in patterns):
            return Stalling(
                "RegistryForbidden",
                f"registry {registry.name!r} is not for {what} {value!r}, only for: {bounded(', '.join(patterns), 300)};"
                f" ask the operator's administrator (chart value registries[].{setting}), or name another registry",
            )
    return None


def refusal(registry: RegistrySettings, user: str, status: int, said: str, location: str, needs: Need) -> Waiting:
    """What an answer other than 200 means."""
    said = "with a web page" if said.lstrip().startswith("<") else bounded(said, 300)
    who = f"registry {registry.name!r} at {registry.uri}"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        target = urlsplit(location)._replace(query="", fragment="").geturl()  # a login page's query may hold what is secret
        return _refused(
            f"{who} sends the operator elsewhere ({status}, to {bounded(target, 200)}), and"
            " the operator takes its credentials nowhere else; if MLflow is there, make that the registry's uri;"
            " if it is a login page, set the registry's auth or headers"
        )
    if status == HTTPStatus.FORBIDDEN and "host header" in said.lower():
        return _refused(
            f"{who} refuses to be called by that name ({said});"
            f" add {urlsplit(registry.uri).netloc!r} to the MLFLOW_SERVER_ALLOWED_HOSTS of the MLflow server"
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return _refused(f"{who} {_login_remedy(registry)} (MLflow: {said})")
    if status == HTTPStatus.FORBIDDEN:
        whom = f"the user {bounded(user, 100)!r}" if user else "the operator"
        return _refused(
            f"{who} does not let {whom} in: it needs {needs.permission}; have that permission granted in MLflow"
            f" (which says the same of what it does not have: {said})"
        )
    if "--no-serve-artifacts" in said or (needs.files and status == HTTPStatus.INTERNAL_SERVER_ERROR):
        return artifacts_unreachable(registry, f"MLflow cannot read them ({status}: {said})")
    if status == HTTPStatus.NOT_FOUND:
        return Waiting(
            "RegistryUnavailable",
            f"{who} answered 404 as no MLflow does ({said}); is that its address, with the path under which a proxy shows it?",
            delay=30,
        )
    return Waiting("RegistryUnavailable", f"{who} answered {status} ({said}); {WAY_OUT}", delay=10)


def artifacts_unreachable(registry: RegistrySettings, why: str) -> Waiting:
    return Waiting(
        "ArtifactsUnreachable",
        f"registry {registry.name!r} does not hand out the files of the version: {why}; the operator asks MLflow alone for"
        " them, so start it with --serve-artifacts, or give the MLflow server itself access to where they lie",
        delay=PATIENCE,
    )


def unreachable(registry: RegistrySettings, error: Exception, said: str) -> Waiting:
    """What a connection that failed means."""
    who = f"registry {registry.name!r} at {registry.uri}"
    certificate = getattr(error, "certificate_error", None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        why = bounded(certificate.verify_message, 200)
        if certificate.verify_code in UNKNOWN_ISSUER:
            remedy = "name the certificate authority that signed it in the registry's caSecret or caConfigMap"
        else:
            remedy = "have it renewed for the name in the registry's uri, or correct the uri"
        return Waiting("RegistryUntrusted", f"{who} shows a certificate that does not hold ({why}); {remedy}", PATIENCE)
    return NoAnswer("RegistryUnavailable", f"{who} cannot be reached ({bounded(said, 300)}); {WAY_OUT}", delay=10)


def cut_short(registry: RegistrySettings, said: str) -> CutShort:
    """What a connection means that ended in the middle of an answer."""
    return CutShort(
        "RegistryUnavailable",
        f"registry {registry.name!r} at {registry.uri} broke off in the middle of an answer ({bounded(said, 300)});"
        " it is tried again",
        delay=10,
    )


def download_cut_short(registry: RegistrySettings, path: str, version: str, error: CutShort) -> Waiting:
    return Waiting(
        "DownloadIncomplete",
        f"the copy of {bounded(path, 100)} of {version} was not finished: {error.message}. Where it goes on, look at MLflow's"
        " log and at the proxies before it",
        error.delay,
    )


def no_json(registry: RegistrySettings, text: str) -> Waiting:
    """It answered 200 with something that no MLflow says."""
    who = f"registry {registry.name!r} at {registry.uri}"
    if text.lstrip().startswith("<"):
        return Waiting(
            "RegistryUnavailable",
            f"{who} answers with a web page instead of JSON: that of a proxy while MLflow is away, or a login page,"
            " or this is the address of something else; correct the registry's uri, or set its auth or headers",
            delay=30,
        )
    return Waiting("RegistryUnavailable", f"{who} answers with no JSON; is this the address of an MLflow server?", delay=10)


def odd(registry: RegistrySettings, error: Exception) -> Waiting:
    said = bounded(f"{type(error).__name__}: {error}", 200)
    return Waiting("RegistryUnavailable", f"registry {registry.name!r} answers as no MLflow does ({said}); is it one?", delay=30)


def secret_unusable(registry: RegistrySettings, kind: str, name: str, key: str, why: str) -> Waiting:
    return Waiting(
        "RegistrySecretUnusable",
        f"registry {registry.name!r} needs the key {key!r} of the {kind} {name!r} in the operator's namespace, and it {why};"
        " correct it there, and it is taken up within two minutes",
        delay=30,
    )


def _login_remedy(registry: RegistrySettings) -> str:
    auth = registry.auth
    if auth is not None and auth.basic_secret is not None:
        return (
            f"refuses the username and the password of the Secret {auth.basic_secret.name!r} in the operator's namespace;"
            " correct them there, and they are taken up within two minutes"
        )
    if auth is not None and auth.bearer_secret is not None:
        return (
            f"refuses the token under the key {auth.bearer_secret.key!r} of the Secret {auth.bearer_secret.name!r}"
            " in the operator's namespace; renew it there, and it is taken up within two minutes"
        )
    return "wants to know who asks: have its auth set by the operator's administrator (chart value registries[].auth)"


def _refused(message: str) -> Waiting:
    return Waiting("RegistryRefused", message, PATIENCE)
