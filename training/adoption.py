"""`training.adopt(...)`: a version that plain MLflow has logged gets what a pod needs to prove itself, as a new version.

The estimator's file stays what it is, byte for byte. It is loaded here, as every pod does.
"""

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pandas as pd
from mlflow.models import Model, ModelSignature
from sklearn.dummy import DummyRegressor

from server import artifact, engine, model
from server.artifact import Artifact, Range
from server.errors import ModelAtFault, ServerError
from server.model import Model as Loaded
from server.settings import Trust
from server.signature import Columns
from training import names, sample, saving, surroundings
from training.data import load
from training.errors import InputError
from training.manage import meant
from training.registry import Version, borrowed, connect, tracking_uri_of
from training.sample import Sample
from training.summary import resource_yaml, to_apply

EXAMPLE_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Adopted:
    """A new version beside the one that it was made from."""

    name: str
    version: str
    source: str
    digest: str
    added: tuple[str, ...]
    """A sentence for each thing that was missing."""
    yaml: str

    def __str__(self) -> str:
        added = [f"  added    {one}" for one in self.added]
        head = [f"{self.name} version {self.version}, adopted from version {self.source}", f"  digest   {self.digest}"]
        return "\n".join([*head, *added, "", to_apply(self.yaml)])

    def __repr__(self) -> str:
        """As the last line of a cell shows it."""
        return str(self)


def adopt(
    uri: str,
    *,
    data: Path | str | pd.DataFrame | None = None,
    drop: tuple[str, ...] = (),
    alias: str | None = None,
    ranges: Mapping[str, Range] | None = None,
    tags: Mapping[str, str] | None = None,
    tracking_uri: str | None = None,
) -> Adopted:
    """Add signature, example, its answer and bounds to models:/NAME/VERSION, or models:/NAME@ALIAS, as a new version.

    data: rows that the model was trained on, as a table or its file; columns that the model does not know are left out, those
        in `drop` too. Without it the input example that was logged has to do, and there are no bounds.
    alias: moved to the new version, which deploys it where it is followed.
    """
    name, which = _named(uri)
    names.insist(name, alias)
    with borrowed(), tempfile.TemporaryDirectory() as scratch:
        registry = connect(tracking_uri_of(tracking_uri))
        found = meant(registry, name, which)
        directory = registry.download(found, Path(scratch))
        about, loaded = _opened(directory)
        if about.record.example is not None and data is None and not ranges:
            raise InputError(f"Version {found.version} of {name} has an example with its answer: there is nothing to add.")
        given = _sample(about, loaded, data, drop)
        added = _written(directory, about, loaded, given)
        about, loaded = _opened(directory)
        record = about.record.model_copy(
            update={
                "example": _answered(about, loaded),
                "bounds": _bounds(about, given, data is not None, ranges or {}),
                "metrics": registry.metrics(found),
            }
        )
        if record.bounds.seen:
            added.append(f"the bounds of {len(record.bounds.seen)} columns, as {len(given)} rows have them")
        saved = saving.finish(directory, record)
        added.append("its compiled form was tried: " + (saved.compiling.reason or "it answers the same, and will serve"))
        version: Version = registry.register(
            saved,
            name=name,
            params={**registry.params(found), **surroundings.params()},
            metrics=registry.metrics(found),
            tags=tags or {},
            version_tags={"adopted_from": str(found.version)},
            description=f"Adopted from version {found.version}: the same estimator, with {'; '.join(added)}.",
        )
        if alias is not None:
            registry.move(name, alias, version.number)
    return Adopted(
        name=name,
        version=version.number,
        source=str(found.version),
        digest=version.digest,
        added=tuple(added),
        yaml=resource_yaml(name, version.number, alias),
    )


def _named(uri: str) -> tuple[str, str]:
    matched = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([\w-]+))", uri)
    if matched is None:
        raise InputError(f'"{uri}" must be models:/NAME/VERSION or models:/NAME@ALIAS.')
    return matched[1], matched[2] or matched[3]


def _opened(directory: Path) -> tuple[Artifact, Loaded]:
    try:
        about = artifact.read(directory)
        return about, model.load(about, Trust())
    except ModelAtFault as e:
        raise InputError(f"No server could load this version. {e}") from e


def _sample(about: Artifact, loaded: Loaded, data: Path | str | pd.DataFrame | None, drop: tuple[str, ...]) -> Sample:
    """Rows of the table that was given, else those that were logged."""
    if data is None:
        logged = Model.load(str(about.directory)).load_input_example(str(about.directory))
        if logged is None:
            raise InputError(
                "The version has no input example, so nobody knows what it takes. Give rows that it was trained on: --data FILE."
            )
        return sample.read(loaded.estimator, logged[0] if isinstance(logged, tuple) else logged, "MLflow's input example")
    frame = data if isinstance(data, pd.DataFrame) else load(Path(data)).frame
    known = _known(about, loaded)
    frame = frame.drop(columns=[column for column in drop if column in frame.columns])
    if known is not None:
        frame = frame[[column for column in frame.columns if column in known]]
    if not isinstance(data, pd.DataFrame):  # a file has no types: what is whole today can be 2.5 tomorrow
        whole = frame.select_dtypes("integer").columns
        frame = frame.astype(dict.fromkeys(whole, "float64"))
    return sample.read(loaded.estimator, frame, "data" if isinstance(data, pd.DataFrame) else Path(data).name)


def _known(about: Artifact, loaded: Loaded) -> set[str] | None:
    """The columns that the model was trained with, where anybody knows their names."""
    trained = getattr(loaded.estimator, "feature_names_in_", None)
    if trained is not None:
        return set(map(str, trained))
    return {column.name for column in about.inputs.columns} if isinstance(about.inputs, Columns) and about.inputs.named else None


def _written(directory: Path, about: Artifact, loaded: Loaded, given: Sample) -> list[str]:
    """Puts what is missing into the directory, and says what that was."""
    added = []
    described = Model.load(str(directory))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if about.signature == "NoSignature":
            try:
                predictions = loaded.estimator.predict(given.rows(range(min(len(given), EXAMPLE_ROWS))))
            except Exception as e:
                raise InputError(
                    f"The model can't predict these rows. {type(e).__name__}: {' '.join(str(e).split())[:300]}"
                ) from e
            described.signature = ModelSignature(given.inputs, saving.output(predictions, about.record.target))
            added.append("a signature")
        if about.example is None:
            rows = sample.chosen(given, None, EXAMPLE_ROWS)
            _add_example(described, sample.example(given.rows(rows)), directory)
            added.append(f"an input example of {len(rows)} rows")
    described.save(str(directory / "MLmodel"))
    return [*added, "the answer that its file gives to the input example"]


def _add_example(described: Model, example: Any, directory: Path) -> None:
    """MLflow writes an example only beside an estimator: one stands in, and only the example's files are taken."""
    with tempfile.TemporaryDirectory() as scratch:
        aside = Path(scratch) / "model"
        mlflow.sklearn.save_model(
            DummyRegressor(),
            aside,
            signature=described.signature,
            input_example=example,
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
        described.saved_input_example_info = Model.load(str(aside)).saved_input_example_info
        for file in aside.glob("*example.json"):
            shutil.copy(file, directory)


def _answered(about: Artifact, loaded: Loaded) -> Any:
    if about.example is None:
        raise InputError("The version's input example has no rows. Give some that it was trained on: --data FILE.")
    try:
        return engine.answer(loaded, about.example)
    except (ValueError, ServerError) as e:
        raise InputError(f"The model refuses its own input example: {e}. Log it again with one that its predict() takes.") from e


def _bounds(about: Artifact, given: Sample, whole: bool, ranges: Mapping[str, Range]) -> artifact.Bounds:
    """Those of a table; a handful of rows says nothing about what is usual."""
    counted = given.bounds(ranges)
    seen = {**about.record.bounds.seen, **(counted.seen if whole else {})}
    return artifact.Bounds(seen=seen, declared={**about.record.bounds.declared, **counted.declared})
