"""Requests that arrive together are answered together: fewer calls of the engine, the same answers."""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import languages, serve, turn, wire
from server.admission import Admission
from server.app import create_app
from server.artifact import Bounds, Label
from server.body import OFF_LOOP_BYTES
from server.engine import Predicted
from server.errors import Refused
from server.lane import Whole
from server.lateness import CROWD, Lateness
from server.loading import load
from server.metrics import Metrics
from server.pod import Pod, Serving
from server.predictor import Predictor
from server.protocols import Language, Model, Request, predict
from server.protocols.mlflow import Invocations
from server.protocols.typed import names_of_numbers
from server.protocols.v1 import Instances
from server.protocols.v2 import Infer
from server.settings import Batching, Settings
from server.signature import Columns, Inputs, Vector
from server.table import Column, Rows
from server.turn import Turn
from server.validation import validator
from tests.unit.server import factories
from tests.unit.server.conftest import Model as Saved
from tests.unit.server.conftest import sample
from tests.unit.server.process import free_ports

ROW = factories.FOREST_ROW
POISON = 666.0
"""An area at which the engine fails, and with it the whole call."""


def answer_to(row: dict[str, float]) -> float:
    return row["mean radius"] + 1000 * row["mean texture"]


class Echo:
    """A fast engine whose answer tells which row it is for."""

    name, fast, has_probabilities = "compiled", True, False
    classes: list[Label] | None = None

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.calls: list[int] = []

    def predict(self, rows: Rows) -> Predicted:
        self.calls.append(len(rows))
        assert isinstance(rows, np.ndarray)
        if (rows[:, 3] == POISON).any():
            raise ValueError("poison")
        return Predicted(predictions=(rows[:, 0] + 1000 * rows[:, 1]).tolist(), probabilities=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    head: bytes
    body: Any


class Connection:
    """A client on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, body: Any, path: str = "/predict", head: bytes = b"") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        first = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path.encode(), head, len(content))
        self.writer.write(first + content)

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        body = await self.reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return Answer(int(head.split()[1]), head, json.loads(body))


@dataclass(frozen=True, slots=True)
class Live:
    """A pod that listens."""

    pod: Pod
    engine: Echo
    connect: Callable[[], Any]


@pytest.fixture(scope="module")
def loaded(model: Saved) -> Serving:
    serving = load(factories.told(model("forest")), Metrics())
    serving.predictor.close()
    return serving


def pod_of(loaded: Serving, told: Settings) -> Pod:
    """With an engine that echoes."""
    pod, engine = Pod(told, Metrics()), Echo(loaded.engine.inputs)
    predictor = Predictor(engine, pod.metrics, "3", batching=Batching(), timeout=5)
    known = replace(loaded.model, classes=None, has_probabilities=False)
    spoken = languages.languages(told, known)
    pod.serving = replace(loaded, engine=engine, predictor=predictor, model=known, languages=spoken)
    return pod


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "fast", False)


@pytest.fixture
async def live(model: Saved, loaded: Serving) -> AsyncIterator[Live]:
    pod = pod_of(loaded, factories.told(model("forest")))
    (port,) = free_ports(1)
    app = create_app(pod)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve._listening(app, port, wire.protocol((), app.turn), 5))

        async def connect() -> Connection:
            while True:
                try:
                    connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
                except ConnectionRefusedError:
                    await asyncio.sleep(0)
                    continue
                stack.callback(connection.writer.close)
                return connection

        assert pod.serving is not None and isinstance(pod.serving.engine, Echo)
        stack.callback(pod.serving.predictor.close)
        yield Live(pod, pod.serving.engine, connect)


async def test_what_arrives_together_is_asked_about_once(live: Live) -> None:
    connections = [await live.connect() for _ in range(16)]
    rows = [ROW | {"mean radius": 10.0 + number} for number in range(16)]
    for connection, row in zip(connections, rows, strict=True):
        connection.ask(row)
    answers = [await connection.answer() for connection in connections]
    assert [answer.body["prediction"] for answer in answers] == [answer_to(row) for row in rows]
    assert live.engine.calls == [16]
    assert sample(live.pod, "ml_prediction_latency_seconds_count") == 16
    assert sample(live.pod, "ml_predictions_total", model_version="3", prediction_class="value") == 16


Kind = Callable[[dict[str, float]], tuple[Any, str, Callable[[Any], Any]]]
"""A body, a path, and the prediction in the answer."""

ASKED: dict[str, Kind] = {
    "predict": lambda row: (row, "/predict", lambda body: body["prediction"]),
    "a list": lambda row: ([row], "/predict", lambda body: body[0]["prediction"]),
    "instances": lambda row: (
        {"instances": [list(row.values())]},
        "/v1/models/fraud:predict",
        lambda body: body["predictions"][0],
    ),
    "split": lambda row: (
        {"dataframe_split": {"columns": list(row), "index": [0], "data": [list(row.values())]}},
        "/invocations",
        lambda body: body["predictions"][0],
    ),
    "V2": lambda row: (
        {"id": "a", "inputs": [{"name": "i", "shape": [1, 4], "datatype": "FP64", "data": list(row.values())}]},
        "/v2/models/fraud/infer",
        lambda body: body["outputs"][0]["data"][0],
    ),
}
CHANGES: dict[str, tuple[dict[str, Any], int]] = {
    "nothing": ({}, 200),
    "never seen": ({"mean area": 9999.0}, 200),
    "poison": ({"mean area": POISON}, 422),
    "no number": ({"mean area": "x"}, 422),
    "impossible": ({"mean radius": 101.5}, 400),
}


async def test_thousands_in_all_languages_each_get_their_own_answer(live: Live) -> None:
    choose = random.Random(0)
    connections = [await live.connect() for _ in range(40)]
    wanted: list[int] = []

    async def ask(connection: Connection, number: int) -> None:
        language, change = choose.choice(list(ASKED)), choose.choice(list(CHANGES) + ["nothing"] * 95)
        altered, status = CHANGES[change]
        row = ROW | {"mean radius": 10 + number / 512, "mean texture": 15.0} | altered
        body, path, found = ASKED[language](row)
        name = b"n-%d" % number
        connection.ask(body, path, b"X-Request-Id: %b\r\n" % name)
        answer = await connection.answer()
        assert (answer.status, b"x-request-id: %b\r\n" % name in answer.head) == (status, True), (language, change, answer)
        assert (b"x-out-of-range: mean area" in answer.head) == (change == "never seen")
        if status == 200:
            assert found(answer.body) == answer_to(row)
        wanted.append(status)

    async def ask_often(first: int) -> None:
        for number in range(first, 2000, len(connections)):
            await ask(connections[first], number)

    await asyncio.gather(*map(ask_often, range(len(connections))))
    assert len(wanted) == 2000
    assert sum(live.engine.calls) >= wanted.count(200)
    assert len(live.engine.calls) < 1500 and max(live.engine.calls) > 16  # they did share calls


async def test_requests_that_follow_each_other_unasked_are_answered_in_order(live: Live) -> None:
    connection = await live.connect()
    rows = [ROW | {"mean radius": 10.0 + number} for number in range(5)]
    for row in rows:
        connection.ask(row)
    assert [(await connection.answer()).body["prediction"] for _ in rows] == [answer_to(row) for row in rows]


async def test_a_request_in_pieces_is_answered_and_so_is_the_next(live: Live) -> None:
    connection = await live.connect()
    content = json.dumps(ROW).encode()
    whole = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    for piece in (whole[:30], whole[30:90], whole[90:-5], whole[-5:]):
        connection.writer.write(piece)
        for _ in range(5):
            await asyncio.sleep(0)
    assert (await connection.answer()).body["prediction"] == answer_to(ROW)
    connection.ask(ROW)
    assert (await connection.answer()).status == 200


async def test_a_client_that_does_not_wait_for_its_answer_costs_nobody_else_one(live: Live) -> None:
    gone, stays = await live.connect(), await live.connect()
    gone.ask(ROW)
    gone.writer.transport.abort()
    stays.ask(ROW)
    assert (await stays.answer()).status == 200


async def test_a_draining_pod_says_goodbye_to_everybody(live: Live) -> None:
    connection = await live.connect()
    live.pod.draining = True
    connection.ask(ROW)
    answer = await connection.answer()
    assert (answer.status, b"connection: close" in answer.head) == (200, True)


async def test_an_engine_that_breaks_is_an_internal_error_for_each(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.engine, "predict", lambda rows: Predicted(predictions=[1.0, 2.0, 3.0], probabilities=None))
    connection = await live.connect()
    connection.ask(ROW)
    answer = await connection.answer()
    assert answer.status != 200 or answer.body["prediction"] == 1.0
    monkeypatch.setattr(live.engine, "predict", lambda rows: 1 / 0)
    connection.ask(ROW)
    assert (await connection.answer()).status == 500


@pytest.mark.usefixtures("slow")
async def test_a_slow_engine_with_a_long_line_refuses_before_it_reads(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await live.connect()
    connection.ask(ROW)
    assert (await connection.answer()).status == 200
    monkeypatch.setattr(Admission, "admits", lambda *_, **__: False)
    connection.ask(b"not even JSON")
    answer = await connection.answer()
    assert (answer.status, answer.body["error"]["type"], b"retry-after: 1\r\n" in answer.head) == (503, "Overloaded", True)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("change", list(CHANGES))
async def test_who_was_let_in_is_not_turned_away_later_and_keeps_no_place(
    live: Live, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    asked: list[Admission] = []

    def admits(admission: Admission, *_: Any, **__: Any) -> bool:
        asked.append(admission)
        return len(asked) == 1

    monkeypatch.setattr(Admission, "admits", admits)
    altered, status = CHANGES[change]
    connection = await live.connect()
    connection.ask(ROW | altered)
    assert (await connection.answer()).status == status
    assert [admission.kept for admission in asked] == [0]


@pytest.mark.usefixtures("slow")
async def test_of_more_rows_than_one_it_is_asked_whether_they_may_wait(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "admits", lambda _, rows, **__: rows == 1)
    connection = await live.connect()
    connection.ask([ROW, ROW])
    assert (await connection.answer()).status == 503


@pytest.mark.usefixtures("slow")
async def test_who_waits_in_line_and_is_left_to_the_application_was_let_in_already(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Admission] = []

    def admits(admission: Admission, *_: Any, **__: Any) -> bool:
        asked.append(admission)
        return True

    monkeypatch.setattr(Admission, "admits", admits)
    connection = await live.connect()
    for radius in (10.0, 11.0):  # with the second one, the first is left to the application
        connection.ask(ROW | {"mean radius": radius})
    assert [(await connection.answer()).status for _ in range(2)] == [200, 200]
    assert len(asked) == 2


async def test_a_connection_that_nobody_uses_is_closed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "KEEP_ALIVE_SECONDS", -1.0)
    connection = await live.connect()
    connection.ask(ROW)
    await connection.answer()
    assert await connection.reader.read() == b""


# --- which of those who arrive are answered, which are left to the application --------------------------------------------


class Arrived:
    """The connection of a request that has arrived, on a loop that turns when it is told to."""

    def __init__(self, asked: Turn, content: bytes, *, late: float = 0.0, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.loop, self.outcome = LOOP, 0
        self.whole = Whole("/predict", list(headers), self, NOW - late, content, NOW - late)  # type: ignore[arg-type]  # as a Protocol
        asked.add(self.whole)

    def answer(self, status: int, _: bytes, __: bytes) -> None:
        self.whole, self.outcome = None, status  # type: ignore[assignment]  # there is none any more

    def start(self) -> None:
        self.answer(APPLICATION, b"", b"")


class Loop:
    """Of events."""

    def __init__(self) -> None:
        self.call_soon = (soon := deque[Callable[[], None]]()).append
        self._soon = soon

    def run(self) -> None:
        while self._soon:
            self._soon.popleft()()


LOOP, APPLICATION = Loop(), -1
NOW = 1000.0
"""The clock stands still, however slow the machine is."""
USUAL = json.dumps(ROW).encode()


@pytest.fixture
def turn_of(model: Saved, loaded: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Turn]]:
    monkeypatch.setattr(turn, "time", SimpleNamespace(perf_counter=lambda: NOW))
    with ExitStack() as stack:

        def make(**settings: Any) -> Turn:
            pod = pod_of(loaded, factories.told(model("forest"), **settings))
            assert pod.serving is not None
            stack.callback(pod.serving.predictor.close)
            return create_app(pod).turn

        yield make


def outcomes(arrived: Sequence[Arrived]) -> Counter[int]:
    LOOP.run()
    return Counter(one.outcome for one in arrived)


def test_a_burst_is_answered_whatever_its_size(turn_of: Callable[..., Turn]) -> None:
    asked, count = turn_of(), 2000
    for _ in range(2):
        assert outcomes([Arrived(asked, USUAL, late=0.04 * (1 - n / count)) for n in range(count)]) == {200: count}


def test_where_many_wait_for_long_and_it_lasts_newcomers_are_turned_away(turn_of: Callable[..., Turn]) -> None:
    asked = turn_of()

    def come() -> Counter[int]:
        """One who has waited for long, and two hundred who come now."""
        return outcomes([Arrived(asked, USUAL, late=0.2), *(Arrived(asked, USUAL) for _ in range(200))])

    assert come() == {200: 201}
    assert outcomes([Arrived(asked, USUAL, late=50.0) for _ in range(100)]) == {200: 100}  # few enough, but it has lasted
    assert outcomes([Arrived(asked, USUAL) for _ in range(200)]) == {200: 200}  # nobody of these waits for long
    assert come() == {200: CROWD + 1, 503: 200 - CROWD}
    assert outcomes([Arrived(asked, USUAL) for _ in range(300)])[200] > CROWD
    assert come() == {200: 201}


@pytest.mark.parametrize("fast", [True, False])
def test_only_who_may_ask_is_told_that_there_are_too_many(
    turn_of: Callable[..., Turn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    (tmp_path / "token").write_text("secret")
    asked = turn_of(auth={"tokenFiles": [str(tmp_path / "token")]})
    monkeypatch.setattr(Lateness, "too_many", lambda *_: True)
    monkeypatch.setattr(Predictor, "place", lambda _: None)
    monkeypatch.setattr(Echo, "fast", fast)
    token = [(b"authorization", b"Bearer secret")]
    first = [Arrived(asked, USUAL, headers=token)] if fast else []
    assert outcomes([Arrived(asked, USUAL), Arrived(asked, USUAL, headers=token)]) == {APPLICATION: 1, 503: 1}
    assert outcomes(first) == ({200: 1} if fast else {})


def test_what_is_too_large_or_no_usual_json_is_left_to_the_application(turn_of: Callable[..., Turn]) -> None:
    small, large = turn_of(maxBodyBytes=len(USUAL)), turn_of()
    assert outcomes([Arrived(small, USUAL), Arrived(small, USUAL + b" ")]) == {200: 1, APPLICATION: 1}
    padding = b" " * (OFF_LOOP_BYTES - len(USUAL))
    assert outcomes([Arrived(large, USUAL + padding), Arrived(large, USUAL + padding + b" ")]) == {200: 1, APPLICATION: 1}
    kinds = {
        b"application/json": 200,
        b"Application/JSON;charset=UTF-8": 200,
        b"text/csv": -1,
        b"application/json; charset=latin1": -1,
    }
    for kind, outcome in kinds.items():
        assert outcomes([Arrived(large, USUAL, headers=[(b"content-type", kind)])]) == {outcome: 1}
    for name, value in ((b"content-encoding", b"gzip"), (b"inference-header-content-length", b"%d" % len(USUAL))):
        assert outcomes([Arrived(large, USUAL, headers=[(name, value)])]) == {APPLICATION: 1}


# --- what is read at a glance is read as with care ------------------------------------------------------------------------

COLUMNS = Columns(columns=(Column(name="a", type="double"), Column(name="b é", type="long"), Column(name="c", type="float")))
BOUNDS = Bounds(seen={"a": (-5, 5)}, declared={"c": (None, 50)})


def all_languages(inputs: Inputs) -> list[Language]:
    checks = validator(inputs, BOUNDS)
    known = Model(name="m", version="1", inputs=inputs, validator=checks, classes=None, has_probabilities=False)
    return [predict.Predict(known), Invocations(known), Instances(known), Infer(known)]


NUMBER = st.integers(-60, 60) | st.floats(-9, 9) | st.sampled_from([1e39, 2.5, 2**53 + 1, 2**63, 1e308])
CELL = NUMBER | st.none() | st.booleans() | st.just("1")
CELLS = st.lists(NUMBER | CELL, min_size=2, max_size=4) | st.tuples(NUMBER, st.integers(-9, 9), NUMBER).map(list)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Nearly what some language expects."""
    cells = draw(CELLS)
    names = draw(st.permutations(["a", "b é", "c", "x"]).map(lambda order: order[: len(cells)]) | st.just(["a", "b é", "c"]))
    tensor = {"name": draw(st.sampled_from(["i", "a"])), "shape": [draw(st.sampled_from([1, 1, 2])), len(cells)]}
    tensor |= {"datatype": draw(st.sampled_from(["FP64", "INT32", "BYTES", "BOOL"])), "data": cells}
    value: Any = draw(
        st.sampled_from(
            [
                dict(zip(names, cells, strict=False)),
                [dict(zip(names, cells, strict=False)), dict(zip("abc", cells, strict=False))],
                [{"features": cells}, {"features": cells[:3]}],
                {"features": cells},
                {"instances": [cells]},
                {"inputs": [cells, cells]},
                {"dataframe_split": {"columns": names, "data": [cells]}},
                {"dataframe_split": {"columns": names, "index": [0], "data": [cells]}},
                {"inputs": [tensor]},
                {"inputs": [{"name": "i", "shape": [2, len(cells)], "datatype": "FP64", "data": cells * 2}]},
                {"id": "7", "inputs": [tensor]},
            ]
        )
    )
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    twice = text.replace("}", ', "a": 1}', 1), text.replace('"data"', '"data": [], "data"', 1)
    text = draw(st.sampled_from([text, text, *twice, text + " "]))
    return text.encode()


@settings(max_examples=150, deadline=None)
@given(bodies(), st.sampled_from([COLUMNS, Vector(width=3)]))
def test_a_row_that_is_read_at_a_glance_is_the_row_that_is_read_with_care(body: bytes, inputs: Inputs) -> None:
    checks = validator(inputs, BOUNDS)
    for language in all_languages(inputs):
        typed = language.typed(body, single=False)
        if typed is None or {checks.width} != set(map(len, typed.rows)):
            continue
        rows = np.array(typed.rows, dtype=np.float64)
        alone = language.typed(body, single=True)
        assert (None if alone is None else list(map(list, alone.rows))) == (rows.tolist() if len(rows) == 1 else None)
        try:
            asked = language.decode(Request(body))
        except Refused:
            assert len(checks.unusual(rows)), (type(language), body)
        else:
            assert np.array_equal(np.asarray(asked.checked.rows, dtype=np.float64), rows), (type(language), body)
            assert bool(len(checks.unusual(rows))) == bool(asked.checked.out_of_range)


@pytest.mark.parametrize("language", [0, 1, 2, 3])
def test_the_usual_request_of_each_language_is_read_at_a_glance(language: int) -> None:
    cells = [1.5, 2, 3]
    record = {"a": 1.5, "b é": 2, "c": 3}
    tensor = {"name": "i", "shape": [1, 3], "datatype": "FP64", "data": cells}
    usual: list[Any] = [
        record,
        {"dataframe_split": {"columns": list(record), "data": [cells]}},
        {"instances": [cells]},
        {"inputs": [tensor]},
    ]
    several: list[Any] = [
        [record, record],
        {"dataframe_split": {"columns": list(record), "data": [cells, cells]}},
        {"instances": [cells, cells]},
        {"inputs": [tensor | {"shape": [2, 3], "data": cells * 2}]},
    ]
    reads = all_languages(COLUMNS)[language].typed
    for single in (True, False):
        typed = reads(json.dumps(usual[language]).encode(), single=single)
        assert typed is not None and list(map(list, typed.rows)) == [cells]
    content = json.dumps(several[language]).encode()
    typed = reads(content, single=False)
    assert typed is not None and list(map(list, typed.rows)) == [cells, cells]
    assert reads(content, single=True) is None


def test_a_column_that_is_not_plain_is_left_to_care() -> None:
    for name, kind in (
        ("a:b", "double"),
        ('5"', "double"),
        ("a\\b", "double"),
        ("a\nb", "double"),
        ("\ud800", "double"),
        ("a", "string"),
    ):
        assert names_of_numbers(Columns(columns=(Column(name=name, type=kind),))) is None  # type: ignore[arg-type]  # as text
