"""Where a model came about: the commit of the code beside it, and every package of this Python."""

import importlib.metadata
import platform
import subprocess

NAME = "environment.txt"


def params() -> dict[str, str]:
    """The few that a person compares."""
    versions = {"python": platform.python_version(), "scikit_learn": importlib.metadata.version("scikit-learn")}
    return versions if (found := commit()) is None else {**versions, "git_commit": found}


def commit() -> str | None:
    """The commit of the folder that this runs in, and whether files differ from it; None where there is none, or no git."""
    found = _git("rev-parse", "HEAD")
    if found is None:
        return None
    return f"{found} and changes" if _git("status", "--porcelain", "--untracked-files=no") else found


def packages() -> str:
    """All that is installed, a line each, as pip has it."""
    found = {f"{one.name}=={one.version}" for one in importlib.metadata.distributions() if one.name}
    return "\n".join([f"# Python {platform.python_version()} on {platform.platform()}", *sorted(found, key=str.casefold)]) + "\n"


def _git(*command: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and nothing of a user's
            ["git", *command],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
