"""The report: one HTML file with everything inside it, so that it opens anywhere and without internet. Pure."""

import base64
import platform
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

from training.evaluate import Scores, Spread
from training.figures import shown
from training.importance import Importance
from training.table import Table

CAPTIONS = {
    "confusion.png": "What was answered, by what is true. The diagonal is right.",
    "roc.png": "How many of a class are found, by how many others are taken for it.",
    "precision-recall.png": "How many of those found are right, by how many are found. With a rare class, look at this one.",
    "calibration.png": "Whether a probability of 0.8 is right eight times of ten.",
    "predicted.png": "What was answered, by what is true. The line is right.",
    "residuals.png": "How far answers are off. A mean away from zero is a bias.",
    "importance.png": "By how much the test part's figure falls when a column's values are dealt out anew.",
}
STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e0e0e0 }
td.number { text-align: right; font-variant-numeric: tabular-nums }
figure { margin: 0 } figure img { width: 100%; height: auto } figcaption { color: #5f6368; font-size: .9rem }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem }
.bar { background: #1f5fa8; height: .7rem; display: inline-block } .note { color: #8a4b00 } code { overflow-wrap: anywhere }
"""


def page(
    name: str,
    table: Table,
    folds: Mapping[str, Spread],
    test: Scores,
    positive: object,
    parameters: Mapping[str, object],
    pictures: Mapping[str, bytes],
    importances: Sequence[Importance],
    measure: str,
) -> str:
    """The whole file."""
    about = {
        "data": table.source,
        "rows and columns": f"{table.rows} rows, {len(table.columns)} columns",
        "target": table.target,
        **{key.replace("_", " "): value for key, value in parameters.items()},
        "fingerprint": table.fingerprint,
        "environment": f"Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in ("scikit-learn", "numpy", "pandas")),
    }
    metrics = "".join(_metric(metric, spread, test[metric]) for metric, spread in folds.items())
    of = "" if positive is None else f"<p>Precision, recall and F1 are those of class <b>{_text(positive)}</b>.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{_text(name)}: how good it is</title><style>{STYLE}</style></head><body>
<h1>{_text(name)}</h1>
<p>{_text(table.notes[0])}</p>
{"".join(f'<p class="note">{_text(note)}</p>' for note in table.notes[1:])}
<h2>Figures</h2>
<table><tr><th>metric</th><th>folds of the training part</th><th>test part</th></tr>
{metrics}
</table>
{of}
<h2>Pictures of the test part</h2>
<div class="pictures">
{"".join(_picture(file, content) for file, content in pictures.items())}
</div>
<h2>Columns</h2>
<p>By so much the {
        measure
    } of the test part falls when a column's values are dealt out anew among its rows. A column that the model does
not use has zero; of two that say the same, each has little.</p>
<table><tr><th></th><th>column</th><th>falls by</th><th></th></tr>
{"".join(_bar(number, each, importances[0].mean) for number, each in enumerate(importances, start=1))}
</table>
<h2>How it was made</h2>
<table>{"".join(f"<tr><td>{_text(key)}</td><td><code>{_text(value)}</code></td></tr>" for key, value in about.items())}</table>
</body></html>
"""


def _text(value: object) -> str:
    return escape(str(value))


def _metric(metric: str, spread: Spread, value: float) -> str:
    folds = f"{shown(metric, spread.mean)} ± {shown(metric, spread.std, spread.mean)}"
    return f"<tr><td>{metric}</td><td class='number'>{folds}</td><td class='number'>{shown(metric, value, spread.mean)}</td></tr>"


def _picture(file: str, content: bytes) -> str:
    source = base64.b64encode(content).decode()
    alt = file.removesuffix(".png").replace("-", " and ")
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{source}"><figcaption>{CAPTIONS[file]}</figcaption></figure>\n'


def _bar(number: int, each: Importance, most: float) -> str:
    width = 14 * max(each.mean, 0) / most if most > 0 else 0
    falls = f"{each.mean:.4f}" + ("" if each.std is None else f" ± {each.std:.4f}")
    return (
        f"<tr><td class='number'>{number}</td><td>{_text(each.column)}</td><td class='number'>{falls}</td>"
        f"<td><span class='bar' style='width:{width:.2f}rem'></span></td></tr>\n"
    )
