"""Says what is being done and how long it took, so that nobody wonders whether a quiet terminal hangs."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 15
"""After so much silence a running step says that it is still running."""


class Trouble(Exception):
    """Something that a person has to mend; its text is one sentence that says what, and how."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str, detail: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Announce a step, repeat it while it runs, and say what it took. `detail` adds how far it has come."""
    started = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(QUIET_SECONDS):
            say(f"    {title}: {time.monotonic() - started:.0f} s so far{detail()}")

    say(f"==> {title}")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
    took = time.monotonic() - started
    if took >= 2:
        say(f"    {title}: done in {took:.0f} s")


def wait_for(what: str, true: Callable[[], bool], *, seconds: float, hint: str = "") -> None:
    """Poll until `true()` holds; a Trouble that names `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Trouble(f"{what} did not come about within {seconds:.0f} s. {hint}".strip())
        time.sleep(0.1)
