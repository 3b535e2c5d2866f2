"""The models of the benchmark, by name and alias."""

import json
import urllib.request

ALIAS = "champion"


def name(number: int) -> str:
    return f"model-{number:02}"


def point(address: str, number: int, version: str) -> None:
    """Have the alias of a model mean that version."""
    body = json.dumps({"name": name(number), "alias": ALIAS, "version": version}).encode()
    url = f"{address}/api/2.0/mlflow/registered-models/alias"
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=60).close()
