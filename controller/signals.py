"""How the process is told to end: SIGTERM and SIGINT."""

import asyncio
import signal


def set_on_signal(stop: asyncio.Event) -> None:
    """Have the signals set `stop`, and do nothing else, whoever had them before."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
