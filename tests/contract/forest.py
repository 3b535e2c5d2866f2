"""`python -m tests.contract.forest save|load DIRECTORY`: a process of its own, since a process has one scikit-learn."""

import json
import sys
from pathlib import Path

import sklearn

from server import loading
from server.metrics import Metrics
from tests.unit.server import factories


def main() -> None:
    command, directory = sys.argv[1], Path(sys.argv[2])
    if command == "save":
        factories.forest(directory)
        return
    serving = loading.load(factories.told(directory), Metrics())
    serving.predictor.close()
    print(json.dumps({"verified": serving.verified, "sklearn": sklearn.__version__}))


if __name__ == "__main__":
    main()
