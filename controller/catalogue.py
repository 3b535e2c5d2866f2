"""The server images that the administrator offers, and which of them serves a model. Pure."""

import re
from dataclasses import dataclass

from controller.errors import Stalling
from controller.policy import AUTO_RUNTIME, Server

_MINOR = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\D|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A server image, and what it has inside."""

    name: str
    image: str
    pull_policy: str = "IfNotPresent"
    scikit_learn: str = ""
    """The minor version, such as 1.9; empty where nobody knows."""
    python: str = ""
    """Likewise."""

    @property
    def label(self) -> str:
        return f"{self.name} (scikit-learn {self.scikit_learn or 'unknown'}, Python {self.python or 'unknown'})"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """At least one runtime; the first is the default."""

    runtimes: tuple[Runtime, ...]

    @property
    def default(self) -> Runtime:
        return self.runtimes[0]

    @property
    def label(self) -> str:
        return ", ".join(runtime.label for runtime in self.runtimes)

    def runtime_for(self, server: Server, scikit_learn: str) -> Runtime:
        """What serves a model that was logged with that scikit-learn. Raises Stalling (RuntimeUnknown)."""
        if server.image is not None:
            return Runtime(name="", image=server.image, pull_policy=self.default.pull_policy)
        if server.runtime != AUTO_RUNTIME:
            named = next((runtime for runtime in self.runtimes if runtime.name == server.runtime), None)
            if named is None:
                raise Stalling(
                    "RuntimeUnknown",
                    f"spec.server.runtime names {server.runtime!r}; the operator has {self.label}, and {AUTO_RUNTIME}",
                )
            return named
        wanted = minor(scikit_learn)
        return next((runtime for runtime in self.runtimes if wanted and runtime.scikit_learn == wanted), self.default)


def minor(version: str) -> str:
    """1.9 of 1.9.1; empty where there is none."""
    found = _MINOR.match(version)
    return f"{int(found[1])}.{int(found[2])}" if found else ""
