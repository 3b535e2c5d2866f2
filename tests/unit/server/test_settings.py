"""One variable, parsed once; what is wrong is said without repeating it."""

import json
from pathlib import Path
from typing import Any

import pytest

from server import settings
from server.errors import SettingsInvalid

MODEL = {"name": "fraud", "version": "3", "digest": "sha256:" + "0" * 64}


def parse(**told: Any) -> settings.Settings:
    return settings.parse({settings.VARIABLE: json.dumps(told)})


def test_only_the_model_is_required() -> None:
    told = parse(model=MODEL)
    assert (told.port, told.management_port, told.model_dir, told.drain_seconds) == (8080, 8081, Path("/model"), 5)
    assert (told.request_timeout_seconds, told.max_body_bytes) == (30, 2 * 1024 * 1024)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "model: Field required"),
        ({"model": MODEL, "modelDirr": "/secret"}, "modelDirr: Extra inputs"),
        ({"model": MODEL | {"digest": "secret"}}, "model.digest"),
        ({"model": MODEL, "port": 0}, "port"),
        ({"model": MODEL, "storeUrls": ["secret://x"]}, "storeUrls.0"),
        ({"model": MODEL, "requestTimeoutSeconds": 0}, "requestTimeoutSeconds"),
    ],
)
def test_a_mistake_is_named_by_its_key(told: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words) as caught:
        parse(**told)
    assert "secret" not in str(caught.value)


def test_a_variable_that_is_missing_or_no_json() -> None:
    with pytest.raises(SettingsInvalid, match="is not set"):
        settings.parse({})
    with pytest.raises(SettingsInvalid, match="is not JSON"):
        settings.parse({settings.VARIABLE: "{"})
