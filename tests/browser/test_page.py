"""The page for people, opened in a real browser on real servers: what a person sees, types and is told."""

import ast
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.browser import chromium
from tests.unit.server import factories
from tests.unit.server.factories import FOREST_ROW, HOSTILE, HOSTILE_LABELS
from tests.unit.server.process import Process, started

TOKEN = "correct-horse.battery/staple="

PATIENCE_MS = 15_000

CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = color.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
    }
    return parse(getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "0 0 0" : "255 255 255");
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    (one) => one.checkVisibility() && [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()),
  );
  return texts.map((one) => {
    const [high, low] = [light(parse(getComputedStyle(one).color).slice(0, 3)), light(ground(one))].sort((x, y) => y - x);
    return [one.textContent.trim().slice(0, 40), (high + 0.05) / (low + 0.05)];
  });
}"""
"""Every text that can be seen, and its contrast with what is behind it, as WCAG counts it."""

Serve = Callable[..., Process]
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A ready server for a model of the factories; one for all tests."""
    with ExitStack() as stack:

        @cache
        def make(name: str, token: str | None) -> Process:
            scratch = tmp_path_factory.mktemp(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow has many opinions on pickle, integers and Python
                directory = getattr(factories, name)(scratch / "model")
            changes: dict[str, Any] = {"drainSeconds": 0}
            if token is not None:
                (scratch / "token").write_text(token)
                changes["auth"] = {"tokenFiles": [str(scratch / "token")]}
            process = stack.enter_context(started(directory, scratch, **changes))
            process.wait_ready()
            return process

        yield lambda name, token=None: make(name, token)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium.executable())
        yield running
        running.close()


@pytest.fixture
def opened(browser: Browser, serve: Serve) -> Iterator[Open]:
    """The page of a model in a window of its own, which must ask nobody else and break no rule of its policy."""
    with ExitStack() as stack:
        broken: list[str] = []

        def make(name: str, token: str | None = None, path: str = "", **window: Any) -> Page:
            url = address(serve(name, token))
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **window})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: broken.append(str(error)))
            page.on("console", lambda message: broken.append(message.text) if "Failed to load" not in message.text else None)
            page.on("request", lambda request: None if request.url.startswith(url) else broken.append(request.url))
            page.goto(url + path)
            return page

        yield make
        assert broken == []


def address(process: Process) -> str:
    return f"http://localhost:{process.port}/"


def words(text: str) -> re.Pattern[str]:
    """To look for a text within another one."""
    return re.compile(re.escape(text))


def predict(page: Page) -> None:
    page.get_by_role("button", name="Predict").click()


def answer(page: Page) -> str:
    """The answer as JSON, which the page shows on request."""
    page.get_by_text("Answer as JSON").click()
    return page.locator("#result details:last-of-type pre").inner_text()


def test_it_says_what_model_this_is_and_predicts_its_example(opened: Open, serve: Serve) -> None:
    page = opened("forest")
    expect(page).to_have_title("fraud, version 3")
    for text in (
        "Ready",
        "scikit-learn",
        "Answered: its example, as recorded",
        "seen 6.981 to 28.11 · must be 0 to 100",
        "sha256:",
    ):
        expect(page.get_by_text(text).first).to_be_visible()
    for name, value in FOREST_ROW.items():
        expect(page.get_by_label(name)).to_have_value(json.dumps(value))
    predict(page)
    expect(page.locator(".answer")).to_have_text("0")
    expect(page.locator("#result")).to_contain_text("ms in the server")
    told = json.loads(answer(page))
    asked = httpx.post(address(serve("forest")) + "predict", json=FOREST_ROW).json()
    assert told["probabilities"] == asked["probabilities"]
    shares = [float(text.split("\n")[1].removesuffix(" %")) for text in page.locator(".bars li").all_inner_texts()]
    assert shares == pytest.approx(sorted((100 * share for share in asked["probabilities"].values()), reverse=True), abs=0.05)


def test_names_and_labels_are_texts_whatever_they_say(opened: Open) -> None:
    page = opened("hostile")
    for name in HOSTILE:
        expect(page.get_by_label(name)).to_be_visible()
    for text in ("predicts <u>target</u>", "<i>test_f1</i>"):
        expect(page.get_by_text(text)).to_be_visible()
    assert page.locator("#about bdi").all_inner_texts() == sorted(HOSTILE_LABELS)
    predict(page)
    expect(page.locator(".answer")).to_have_text(HOSTILE_LABELS[1])
    assert sorted(text.split("\n")[0] for text in page.locator(".bars li").all_inner_texts()) == sorted(HOSTILE_LABELS)
    expect(page).to_have_title("fraud, version 3")
    assert page.locator("img, script:not([src])").count() == 0


def test_the_documentation_of_hostile_names_is_text_too(opened: Open) -> None:
    page = opened("hostile", path="docs")
    expect(page.get_by_role("cell", name=HOSTILE[0])).to_be_visible()
    expect(page).to_have_title("fraud, version 3")
    assert page.locator("img, script").count() == 0


@pytest.mark.parametrize("language", ["curl", "Python"])
@pytest.mark.parametrize(("name", "token"), [("forest", None), ("hostile", None), ("array", None), ("forest", TOKEN)])
def test_what_it_says_to_paste_works(opened: Open, name: str, token: str | None, language: str) -> None:
    page = opened(name, token)
    if token is not None:
        page.get_by_label("Access token").fill(token)
        page.get_by_role("button", name="Continue").click()
    predict(page)
    expected = json.loads(answer(page))
    page.get_by_text(language, exact=True).click()
    code = page.locator("#code").inner_text()
    assert TOKEN not in code
    shell = ["bash", "-c", f"{code} --silent --show-error"] if language == "curl" else [sys.executable, "-c", code]
    run = subprocess.run(shell, capture_output=True, text=True, env={**os.environ, "TOKEN": TOKEN}, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    given = json.loads(run.stdout) if language == "curl" else ast.literal_eval(run.stdout)
    assert (given["prediction"], given["probabilities"]) == (expected["prediction"], expected["probabilities"])


def test_every_mistake_stands_beside_its_field(opened: Open) -> None:
    page = opened("forest")
    page.get_by_label("mean radius").fill("-1")
    page.get_by_label("mean area").fill("1,5")
    page.get_by_label("mean texture").fill("")
    predict(page)
    for name, mistake in {
        "mean radius": "is -1, 0 to 100 is possible",
        "mean texture": "is missing, a number is expected",
        "mean area": 'is "1,5", a number is expected',
    }.items():
        field = page.get_by_label(name)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(words(mistake))
    expect(page.get_by_label("mean radius")).to_be_focused()
    expect(page.locator("#result")).to_contain_text("3 values can't be taken")
    page.get_by_label("mean area").fill("1.5")
    expect(page.get_by_label("mean area")).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_label("mean radius")).to_have_attribute("aria-invalid", "true")


def test_what_training_has_not_seen_is_marked(opened: Open) -> None:
    page = opened("forest")
    page.get_by_label("mean radius").fill("99")
    predict(page)
    expect(page.locator(".answer")).to_be_visible()
    expect(page.get_by_label("mean radius")).to_have_accessible_description(
        words("outside of what training has seen: 6.981 to 28.11")
    )
    expect(page.locator("#result")).to_contain_text("1 value lies outside of what training has seen")
    expect(page.get_by_label("mean area")).not_to_have_accessible_description(words("outside"))


def test_missing_values_and_large_numbers_travel_as_they_are(opened: Open) -> None:
    page = opened("hostile")
    number, text, gaps, truth, whole = HOSTILE
    expect(page.get_by_label(whole)).to_have_value("9007199254740993")
    page.get_by_label(number).fill(" .5 ")
    page.get_by_label(truth).select_option("false")
    with page.expect_request("**/predict") as sent:
        predict(page)
    assert sent.value.post_data is not None
    assert json.loads(sent.value.post_data) == {number: 0.5, truth: False, whole: 9007199254740993}
    page.get_by_label(text).fill("a")
    page.get_by_label(gaps).fill("1e0")
    with page.expect_request("**/predict") as sent:
        predict(page)
    assert sent.value.post_data is not None
    assert json.loads(sent.value.post_data) == {number: 0.5, text: "a", gaps: 1.0, truth: False, whole: 9007199254740993}


def test_a_model_without_names_takes_its_values_in_any_form(opened: Open) -> None:
    page = opened("array")
    values = page.get_by_label("Values")
    expect(page.get_by_text("4 of 4 values")).to_be_visible()
    predict(page)
    first = json.loads(answer(page))["probabilities"]
    for text in ("17.99 10.38\n122.8\t1001", "[17.99, 10.38, 122.8, 1001]", "17.99;10.38;122.8;1001"):
        values.fill(text)
        with page.expect_response("**/predict") as got:
            predict(page)
        assert got.value.json()["probabilities"] == first
    values.fill("17.99, many")
    expect(page.get_by_text("2 of 4 values")).to_be_visible()
    predict(page)
    expect(values).to_have_accessible_description(words("features has 2 values, this model takes"))
    values.fill("17.99, many, 122.8, 1001")
    predict(page)
    expect(values).to_have_accessible_description(words('features[1] is "many", a number is expected'))


def test_a_model_with_a_token_tells_nothing_without_it(opened: Open) -> None:
    page = opened("forest", TOKEN)
    field = page.get_by_label("Access token")
    expect(field).to_be_focused()
    assert page.get_by_label("mean radius").count() == 0
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
    field.fill(TOKEN)
    field.press("Enter")
    page.get_by_label("mean radius").fill("18")
    predict(page)
    expect(page.locator(".answer")).to_have_text("0")
    page.get_by_role("link", name="API documentation").click()
    expect(page.get_by_role("heading", name="Operations")).to_be_visible()
    expect(page.get_by_label("mean radius")).to_have_value("18")
    with page.expect_download() as got:
        page.get_by_role("link", name="openapi.json").first.click()
    assert json.loads(got.value.path().read_text())["info"]["title"] == "fraud"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert json.loads(kept) == [{}, {}, ""]
    page.reload()
    expect(field).to_have_value("")


def test_the_page_waits_for_a_model_that_is_being_loaded(opened: Open, serve: Serve) -> None:
    """The first description is that of a pod which has no model yet; the next one is the server's own."""
    page = opened("forest", path="docs")
    loading = {"name": "fraud", "version": "3", "digest": "sha256:0", "resource": None, "status": "Loading", "loaded": False}
    page.route("**/model.json", lambda route: route.fulfill(json=loading), times=1)
    page.goto(address(serve("forest")))
    expect(page.get_by_text("The model is being loaded.")).to_be_visible()
    expect(page.get_by_label("mean radius")).to_have_value("17.99")
    expect(page.get_by_text("The model is being loaded.")).to_be_hidden()


def test_another_version_that_answers_is_noticed(opened: Open) -> None:
    page = opened("forest")

    def replaced(route: Route) -> None:
        given = route.fetch()
        route.fulfill(response=given, headers={**given.headers, "x-model-digest": "sha256:0"})

    page.route("**/predict", replaced)
    predict(page)
    expect(page.get_by_role("status")).to_contain_text("Version 3 of the model answers now.")


def test_a_server_that_is_gone_is_named(opened: Open) -> None:
    page = opened("forest")
    page.route("**/predict", lambda route: route.abort())
    predict(page)
    expect(page.locator("#result")).to_contain_text("The server can't be reached")
    expect(page.get_by_role("button", name="Predict")).to_have_attribute("aria-disabled", "false")


def test_it_can_be_used_without_a_mouse(opened: Open) -> None:
    page = opened("forest")
    expect(page.get_by_label("mean radius")).to_be_visible()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent"))
        if "mean radius" in reached[-1]:
            page.keyboard.type("12")
        if reached[-1] == "Predict":
            page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_be_visible()
    assert [name for name in reached if name.endswith("double")] == [f"{name}double" for name in FOREST_ROW]
    expect(page.get_by_label("mean radius")).to_have_value("12")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_everything_can_be_read(opened: Open, scheme: str, width: int) -> None:
    for path in ("", "docs"):
        page = opened("hostile", path=path, viewport={"width": width, "height": 800}, color_scheme=scheme)
        if not path:
            predict(page)
            expect(page.locator(".answer")).to_be_visible()
            page.get_by_label(HOSTILE[0]).fill("x")
            predict(page)
            expect(page.get_by_text("can't be taken")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        texts = page.evaluate(CONTRAST)
        assert len(texts) > 10
        assert [text for text, contrast in texts if contrast < 4.5] == []


def test_every_control_has_a_name(opened: Open) -> None:
    page = opened("hostile")
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    for control in page.locator("input, select, textarea, button").all():
        if control.is_visible():
            expect(control).to_have_accessible_name(re.compile(r"\S"))
