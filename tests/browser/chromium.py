"""A Chromium of the system's: found, or installed. `make browser` does that first, since tests have a time limit."""

import shutil

from tests.clusters import packages

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")


def executable() -> str:
    """Its path. Debian's smallest one is installed where there is none."""
    if not any(map(shutil.which, NAMES)):
        packages.ensure({NAMES[0]: NAMES[0]})
    packages.ensure({"curl": "curl"})  # the page shows a command with it, and a test runs that
    return next(path for path in map(shutil.which, NAMES) if path is not None)


if __name__ == "__main__":
    print(executable())
