"""The requests that one turn of the event loop brings, answered together: one array, one look at bounds, one call of the engine.

Only the usual is answered here: one row of numbers that training has seen the like of, whole when it arrived. All else, mistakes
above all, goes on to the application (`server.app`), which gives the same answers one by one. So no request spoils the answer of
another. An engine that is faster than a thread is woken up is asked at the end of the turn, and nobody waits for the sake of a
batch; for every other one there is a line (`server.batching`).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from server import body
from server.auth import Tokens
from server.body import OFF_LOOP_BYTES, Head
from server.engine import Predicted
from server.errors import Overloaded, PredictionTooSlow, Refused, Unanswerable
from server.failures import refusal
from server.lane import Whole
from server.lateness import Lateness
from server.pod import Pod, Serving
from server.predictor import require_finite
from server.protocols import Reply, Typed, glance
from server.stamp import Stamp, lines, named

TOGETHER = 64
"""So many are answered before the event loop looks at its sockets again."""

TOO_MANY = "This pod gets more requests than it can answer. Try again in a second."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Usual:
    """A request that can be answered here."""

    whole: Whole
    name: bytes
    typed: Typed


class Turn:
    """Those whom the end of this turn will answer."""

    def __init__(self, pod: Pod, paths: Iterable[str], stamp: Stamp, tokens: Tokens | None, lateness: Lateness) -> None:
        self._pod = pod
        self._stamp = stamp
        self._tokens = tokens
        self._lateness = lateness
        self._largest = min(pod.settings.max_body_bytes, OFF_LOOP_BYTES)
        self._paths = {path.encode(): path for path in paths}
        self._line: deque[Whole] = deque()

    def path(self, url: bytes) -> str | None:
        """The path, if requests for it can be answered here."""
        return None if self._pod.serving is None or self._pod.draining else self._paths.get(url)

    def add(self, whole: Whole) -> None:
        """Answer this one too; or, if it is one too many, say so at once to whoever may ask at all."""
        serving = self._pod.serving
        if serving is not None and not serving.engine.fast:
            self._line_up(whole, serving)
            return
        if self._line and self._lateness.too_many(whole.complete - self._line[0].complete, len(self._line)):
            head = Head.of(whole.headers)
            if self._allowed(head):
                self._refuse(whole, head, Overloaded(TOO_MANY))
            else:
                whole.go_on()
            return
        if not self._line:
            whole.loop.call_soon(self._answer)
        self._line.append(whole)

    def _line_up(self, whole: Whole, serving: Serving) -> None:
        head = Head.of(whole.headers)
        if not self._allowed(head):
            whole.go_on()
            return
        whole.place = place = serving.predictor.place()
        if place is None:
            self._refuse(whole, head, Overloaded(TOO_MANY))  # before anybody reads it
        elif (one := self._usual(whole, serving)) and not len(serving.validator.unusual(row := np.array(one.typed.rows, float))):
            serving.predictor.in_line(row, place).add_done_callback(partial(self._told, one, serving))
        else:
            whole.go_on()

    def _told(self, one: _Usual, serving: Serving, answered: "asyncio.Future[Predicted]") -> None:
        """The line has an answer, or none."""
        if not one.whole.waiting:
            return
        try:
            predicted = answered.result()
            require_finite(predicted)
            now = time.perf_counter()
            self._reply(one, serving, predicted, now - one.whole.complete)
            if self._pod.access.due(now):
                self._tell_of(one, now)
        except PredictionTooSlow as e:
            self._refuse(one.whole, Head.of(one.whole.headers), e)
        except Exception:  # asked once more, where the error finds its words
            one.whole.go_on()

    def _allowed(self, head: Head) -> bool:
        return self._tokens is None or self._tokens.allow(head.authorization)

    def _answer(self) -> None:
        asked = [self._line.popleft() for _ in range(min(TOGETHER, len(self._line)))]
        if self._line:
            asked[0].loop.call_soon(self._answer)
        now = time.perf_counter()
        for whole in asked:
            self._lateness.saw(now - whole.complete)
        try:
            self._together([whole for whole in asked if whole.waiting])
        except (ValueError, Unanswerable):
            pass  # somebody's values: asked one by one, only they get no answer
        except Exception:
            log.exception("unexpected error while several were answered")
        for whole in asked:
            if whole.waiting:
                whole.go_on()

    def _together(self, asked: Sequence[Whole]) -> None:
        serving = self._pod.serving
        usual = [one for whole in asked if (one := self._usual(whole, serving))] if serving else []
        if serving is None or not usual:
            return
        rows = np.array([one.typed.rows[0] for one in usual], dtype=np.float64)
        if len(unusual := serving.validator.unusual(rows)):
            rows = np.delete(rows, unusual, axis=0)
            usual = [one for number, one in enumerate(usual) if number not in unusual]
        if not usual:
            return
        predicted = serving.predictor.at_once(rows)
        now = time.perf_counter()
        for number, one in enumerate(usual):
            self._reply(one, serving, _row(predicted, number), now - one.whole.complete)
        if self._pod.access.due(now):
            self._tell_of(usual[0], now)

    def _reply(self, one: _Usual, serving: Serving, predicted: Predicted, seconds: float) -> None:
        self._send(one.whole, 200, one.name, one.typed.reply(predicted, seconds))
        serving.predictor.count(predicted.predictions, seconds)

    def _tell_of(self, one: _Usual, now: float) -> None:
        self._pod.access.write("POST", one.whole.path, 200, now - one.whole.begun, one.name, one.whole.headers)

    def _usual(self, whole: Whole, serving: Serving) -> _Usual | None:
        head = Head.of(whole.headers)
        if len(whole.content) > self._largest or not self._allowed(head):
            return None
        try:
            request = body.request(whole.content, head)
        except Refused:
            return None
        typed = glance(serving.languages[whole.path], serving.validator, request, single=True)
        return None if typed is None else _Usual(whole, named(head.request_id), typed)

    def _refuse(self, whole: Whole, head: Head, error: Refused) -> None:
        self._pod.metrics.errors.labels(error.reason).inc()
        status, reply = refusal(whole.path, error)
        name = named(head.request_id)
        self._send(whole, status, name, reply)
        self._pod.access.answered("POST", whole.path, status, whole.begun, name, whole.headers, error.reason)

    def _send(self, whole: Whole, status: int, name: bytes, reply: Reply) -> None:
        head = lines(reply.headers) + self._stamp.lines(name) if reply.headers else self._stamp.lines(name)
        whole.answer(status, b"content-type: %b\r\n%b" % (reply.media_type, head), reply.content)


def _row(predicted: Predicted, number: int) -> Predicted:
    rows = predicted.probabilities
    return Predicted(predictions=[predicted.predictions[number]], probabilities=None if rows is None else [rows[number]])
