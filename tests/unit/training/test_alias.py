"""What can come between a comparison and an alias."""

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from training.errors import NotGoodEnough, RegistryError
from training.names import without_secret
from training.registration import insist_on_what_was_compared
from training.registry import Registry


class Client:
    """An MLflow where an alias names some version, and moves nowhere."""

    def __init__(self, version: str | None) -> None:
        self.version = version

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        if self.version is None:
            raise MlflowException("none", error_code=RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(version=self.version)

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        raise MlflowException("http://ann:s3cret@mlflow.example: away")

    def create_registered_model(self, name: str) -> None:
        """It is there."""

    def create_model_version(self, *_: Any, **__: Any) -> None:
        raise MlflowException("http://ann:s3cret@mlflow.example: too many 504 error responses")

    def search_model_versions(self, asked: str) -> list[Any]:
        return []


def registry(version: str | None) -> Registry:
    client: Any = Client(version)
    return Registry(client=client, uri="http://ann:s3cret@mlflow.example")


@pytest.mark.parametrize(("now", "compared"), [("1", "1"), (None, None), (None, "1")])
def test_an_alias_that_is_where_it_was_may_move(now: str | None, compared: str | None) -> None:
    insist_on_what_was_compared(registry(now), compared, "fraud", "champion", "3")


@pytest.mark.parametrize("compared", ["1", None])
def test_an_alias_that_another_has_moved_meanwhile_stays(compared: str | None) -> None:
    with pytest.raises(NotGoodEnough, match='Version 3 of "fraud" is registered, but "champion" has moved to version 2'):
        insist_on_what_was_compared(registry("2"), compared, "fraud", "champion", "3")


def test_a_version_that_is_there_is_told_where_its_alias_does_not_move_and_no_password_is() -> None:
    with pytest.raises(RegistryError, match=r'^Version 3 of "fraud" is registered, but "champion" has not moved') as raised:
        registry("1").move("fraud", "champion", "3")
    assert "s3cret" not in str(raised.value)


def test_a_version_that_nobody_knows_of_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.registry.LOOK_AFTER", (0, 0))
    logged = SimpleNamespace(model_uri="models:/m-1", model_id="m-1")
    with pytest.raises(RegistryError, match=r"See with `versions fraud` whether it did after all.*504") as raised:
        registry(None)._version("fraud", logged, "run", {}, "")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:s3cret@mlflow.example:5000/a", "http://mlflow.example:5000/a"),
        ("http://mlflow.example/@a", "http://mlflow.example/@a"),
        ("sqlite:///m.db", "sqlite:///m.db"),
    ],
)
def test_an_address_is_shown_without_its_secret(uri: str, shown: str) -> None:
    assert without_secret(uri) == shown
