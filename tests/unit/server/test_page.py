"""The page for people: what it is sent, and that nothing in it comes from elsewhere. tests/browser opens it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from server import page
from server.app import create_app
from server.artifact import Bounds, Record
from server.metrics import Metrics
from server.pod import Pod
from tests.unit.server import factories
from tests.unit.server.conftest import Model, Served
from tests.unit.server.local import Client

MAX_BYTES = 30_000


@pytest.fixture(scope="module")
def forest(serve: Served) -> tuple[Client, Pod]:
    return serve("forest", resource={"namespace": "team", "name": "fraud"})


@pytest.fixture(scope="module")
def client(forest: tuple[Client, Pod]) -> Client:
    return forest[0]


def described(client: Client) -> dict[str, Any]:
    """What the page is told of the model."""
    content: dict[str, Any] = client.get("/model.json").json()
    return content


class Loads(HTMLParser):
    """What a page makes a browser load, and what would run or paint without being loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "link"):
            self.addresses.append(given.get("src") or given.get("href") or "inline")
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self.inline += [tag for tag in (tag,) if tag in ("style", "iframe", "img", "object", "base")]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_its_own_files_and_nothing_else(client: Client, path: str) -> None:
    answer = client.get(path)
    loads = Loads()
    loads.feed(answer.text)
    assert (answer.headers["content-type"], loads.inline) == ("text/html; charset=utf-8", [])
    for address in loads.addresses:
        assert not address.startswith(("/", "http")), "behind an ingress the page may lie below a path"
        assert client.get(f"/{address}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_policy_allows_nothing_unsafe(client: Client, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert {value for name, value in directives.items() if name.endswith("-src")} <= {"'none'", "'self'"}
    assert directives.get("script-src") == ("'self'" if path == "/" else None)


def test_what_a_file_is_is_not_guessed(client: Client) -> None:
    types = {path: client.get(path).headers for path in page.FILES}
    assert {path: headers["content-type"].split(";")[0] for path, headers in types.items()} == {
        path: media_type for path, (_, media_type) in page.FILES.items()
    }
    assert {headers["x-content-type-options"] for headers in types.values()} == {"nosniff"}


def test_it_is_small(client: Client) -> None:
    assert sum(len(client.get(path).content) for path in page.FILES) <= MAX_BYTES


def test_the_model_is_described(forest: tuple[Client, Pod]) -> None:
    client, pod = forest
    told = described(client)
    assert pod.serving is not None
    assert (told["engine"], told["engineReason"]) == (pod.serving.engine.name, pod.serving.engine_reason)
    assert told.items() >= {
        "name": "fraud", "version": "3", "digest": pod.settings.model.digest, "resource": "team/fraud", "status": "Ready",
        "verified": "Answered", "classes": ["0", "1"], "moreClasses": 0, "vector": None,
    }.items()  # fmt: skip
    assert told["columns"][0] == {
        "name": "mean radius", "type": "double", "required": True, "seen": [6.981, 28.11], "declared": [0.0, 100.0],
    }  # fmt: skip
    assert dict(zip(factories.FOREST_ROW, told["examples"][0], strict=True)) == {
        name: json.dumps(value) for name, value in factories.FOREST_ROW.items()
    }


def test_types_and_missing_values_are_described(serve: Served) -> None:
    told = described(serve("hostile")[0])
    assert [(column["type"], column["required"]) for column in told["columns"]] == [
        ("double", True), ("string", False), ("double", False), ("boolean", True), ("long", True),
    ]  # fmt: skip
    assert told["examples"][0][1:] == [None, None, "true", "9007199254740993"]


def test_a_model_without_names_says_how_many_values_it_takes(serve: Served) -> None:
    told = described(serve("array")[0])
    assert (told["columns"], told["vector"]["width"]) == (None, 4)
    assert len(told["examples"][0]) == 4


def test_how_good_the_model_is(forest: tuple[Client, Pod]) -> None:
    _, pod = forest
    assert pod.serving is not None
    record = Record(metrics={"test_f1": 0.9, "test_roc_auc": float("nan")}, data={"rows": 569}, bounds=Bounds())
    pod_of_trained = Pod(pod.settings, Metrics())
    pod_of_trained.serving = replace(pod.serving, artifact=replace(pod.serving.artifact, record=record))
    told = page.describe(pod_of_trained)
    assert (told["metrics"], told["rows"]) == ({"test_f1": 0.9}, 569)


def test_a_model_that_is_being_loaded_has_a_page(model: Model) -> None:
    with Client(create_app(Pod(factories.told(model("forest")), Metrics()))) as client:
        assert client.get("/").status_code == 200
        told = described(client)
    assert (told["status"], told["loaded"], told["name"]) == ("Loading", False, "fraud")


def test_a_name_of_the_model_never_becomes_part_of_the_page(client: Client) -> None:
    """The page is a file: whatever a model calls things, a browser gets it as JSON."""
    told = client.get("/model.json")
    assert told.headers["content-type"] == "application/json"
    assert "mean radius" in told.text
    assert not any("mean radius" in client.get(path).text for path in page.FILES)


def test_no_text_reaches_the_page_as_markup(client: Client) -> None:
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", client.get("/static/page.js").text)
        == []
    )


def test_the_page_can_be_disabled(serve: Served) -> None:
    client, _ = serve("forest", ui="Disabled")
    paths = ("/", "/static/page.js", "/model.json", "/static/style.css", "/docs", "/openapi.json")
    assert {path: client.get(path).status_code for path in paths} == dict(zip(paths, (404, 404, 404, 200, 200, 200), strict=True))


def test_without_a_token_the_page_is_there_and_the_model_is_not(serve: Served, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame")
    client, _ = serve("forest", auth={"tokenFiles": [str(tmp_path / "token")]})
    assert {path: client.get(path).status_code for path in page.FILES} == dict.fromkeys(page.FILES, 200)
    assert client.get("/model.json").status_code == client.get("/docs").status_code == 401
    shown = {"authorization": "Bearer sesame"}
    assert client.get("/model.json", headers=shown).status_code == 200
    assert "Bearer $TOKEN" in client.get("/docs", headers=shown).text
