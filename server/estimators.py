"""The estimator: loaded as its policy allows, and made single-threaded. The only file that executes what a model brings along."""

import pickle
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from server import trust
from server.artifact import Artifact, versions
from server.errors import FlavorUnsupported, LoadFailed, ModelAtFault, PickleDenied, TypesUntrusted, text_of
from server.settings import Trust


def load(artifact: Artifact, trusted: Trust) -> Any:
    """Whatever the model's file holds, if it can be asked."""
    estimator = _read(artifact, trusted)
    _insist_on_predict(estimator)
    for part in trust.parts(estimator):
        if hasattr(part, "__dict__") and "n_jobs" in vars(part):
            vars(part)["n_jobs"] = 1  # processes and threads for one row cost ten times what they save
    return estimator


def _read(artifact: Artifact, trusted: Trust) -> Any:
    path = artifact.estimator
    if artifact.serialization != "skops" and trusted.pickle == "Deny":
        raise PickleDenied(
            f"The model was written with {artifact.serialization}, which executes what its author put into it, and "
            "spec.trust.pickle is Deny. Log it with serialization_format='skops'."
        )
    try:
        if artifact.serialization == "skops":
            import skops.io  # imports all of scikit-learn, and most models are pickled

            allowed = {*trust.TRUSTED, *trusted.skops_types}
            if untrusted := set(skops.io.get_untrusted_types(file=path)) - allowed:
                raise TypesUntrusted(
                    "The model's skops file has types that nobody has allowed. Review them, and allow them with "
                    f"spec.trust.skopsTypes: [{', '.join(sorted(untrusted.union(trusted.skops_types)))}]; or log the model with "
                    "estimators that need none of them."
                )
            estimator = skops.io.load(path, trusted=sorted(allowed))
            if trust.has_broken_tree(estimator):
                raise LoadFailed("The model has a tree whose nodes lead out of it: its file was not written by scikit-learn.")
            return estimator
        with path.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - the digest was verified; whether pickle is allowed is the spec's policy
    except ModelAtFault:
        raise
    except ImportError as e:
        raise LoadFailed(
            f"The model needs the Python module {e.name or e.msg!r}, which this server does not have. "
            f"Use scikit-learn's own classes, or a server image with that module.{versions(artifact)}"
        ) from e
    except (Exception, SystemExit) as e:
        raise LoadFailed(
            f"The model's file {path.name} does not load: {text_of(e).rstrip('.')}.{versions(artifact)} "
            "Train and log it again with the scikit-learn of the server image."
        ) from e


def _insist_on_predict(estimator: Any) -> None:
    kind = type(estimator).__name__
    if not hasattr(estimator, "predict"):
        why = (
            "which knows only the rows that it was trained on and has no predict() for others. Choose an estimator that has"
            if hasattr(estimator, "fit_predict")
            else "which has no predict(). Log a pipeline that ends in an estimator with one"
        )
        raise FlavorUnsupported(f"The model is a {kind}, {why}.")
    try:
        check_is_fitted(estimator)
    except NotFittedError as e:
        raise LoadFailed(f"The model is a {kind} that was never fitted. Fit it, then log it again.") from e
    except TypeError:  # somebody's own estimator, of which scikit-learn can't tell
        return
