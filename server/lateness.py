"""How late the event loop is. A request waits for those before it, also where each is quick: where the latest fifty or so waited
for long before anybody looked at them, more come than can be answered, and all that helps is to answer fewer."""

LATE_SECONDS = 0.05
LATENESS_OF_LATEST = 0.02
CROWD = 128
"""Among fewer, it is the machine that is slow, and nobody else would be helped."""


class Lateness:
    """Of the latest requests, on average. One burst, or a pause of the process, is no overload: it must last."""

    def __init__(self) -> None:
        self._average = 0.0

    def saw(self, late: float) -> None:
        """A request that waited for so many seconds."""
        self._average += (late - self._average) * LATENESS_OF_LATEST

    def too_many(self, late: float, crowd: int) -> bool:
        """Whether one more is too many: it would wait for so long, among so many."""
        return crowd > CROWD and late > LATE_SECONDS and self._average > LATE_SECONDS
