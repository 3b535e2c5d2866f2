"""Writes what values.yaml's comments say into the chart's README and into values.schema.json.

`python -m tests.chart.documentation` writes them, `--check` fails where they are stale. A value is documented by a comment that
begins with `# --` above it; what lies below that value is described in the schema by hand.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chart.rendering import CHART

Documented = dict[str, tuple[Any, str]]

VALUES, SCHEMA, README = (CHART / name for name in ("values.yaml", "values.schema.json", "README.md"))
COLUMNS = 120
HEAD = "| Value | Default | What it does |\n| --- | --- | --- |\n"


def documented(text: str) -> Documented:
    """Each value below a comment that begins with `# --`: its path, its default and what the comment says."""
    lines, values = text.splitlines(), yaml.safe_load(text)

    def comment_above(line: int) -> str:
        start = line
        while start > 0 and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        said = " ".join(above.strip().removeprefix("#").strip() for above in lines[start:line])
        return said.removeprefix("-- ") if said.startswith("-- ") else ""

    def walk(node: yaml.MappingNode, default: Any, prefix: str) -> Iterator[tuple[str, tuple[Any, str]]]:
        for key, value in node.value:
            path, inside = f"{prefix}{key.value}", default[key.value]
            if said := comment_above(key.start_mark.line):
                yield path, (inside, said)
            elif isinstance(value, yaml.MappingNode) and value.value:
                yield from walk(value, inside, f"{path}.")
            else:
                raise ValueError(f"values.yaml says nothing about {path}: put a comment that begins with `# --` above it")

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return dict(walk(root, values, ""))


def readme(text: str, values: Documented) -> str:
    """README.md with the table of these values."""
    rows = (f"| `{path}` | `{json.dumps(default)}` | {said} |\n" for path, (default, said) in values.items())
    before, _, after = text.partition(HEAD)
    return before + HEAD + "".join(rows) + re.sub(r"\A(\|.*\n)*", "", after)


def schema(text: str, values: Documented) -> str:
    """values.schema.json with the description of each of these values."""
    tree = json.loads(text)
    for path, (_, said) in values.items():
        node = tree
        for name in path.split("."):
            node = node["properties"][name]
        described = {"description": said} | {key: value for key, value in node.items() if key != "description"}
        node.clear()
        node.update(described)
    return _laid_out(tree) + "\n"


def _laid_out(value: Any, indent: str = "", before: int = 0) -> str:
    """JSON with each object on one line where there is room, and one line a member where there is not."""
    whole = json.dumps(value, ensure_ascii=False)
    if len(indent) + before + len(whole) < COLUMNS or not isinstance(value, dict | list) or not value:
        return whole
    inner = indent + "  "
    if isinstance(value, list):
        members, brackets = [inner + _laid_out(each, inner) for each in value], "[]"
    else:
        keys = {key: f"{json.dumps(key)}: " for key in value}
        members, brackets = [f"{inner}{keys[key]}{_laid_out(each, inner, len(keys[key]))}" for key, each in value.items()], "{}"
    return brackets[0] + "\n" + ",\n".join(members) + f"\n{indent}{brackets[1]}"


def generated() -> dict[Path, str]:
    """What the files should hold."""
    values = documented(VALUES.read_text())
    return {README: readme(README.read_text(), values), SCHEMA: schema(SCHEMA.read_text(), values)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chart.documentation", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    stale = {path: text for path, text in generated().items() if path.read_text() != text}
    if parser.parse_args().check:
        for path in stale:
            print(f"{path} is stale: run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
