"""What came of compiling a model: written by the init step beside what it has compiled, read by the server.

The model's own directory stays as its digest names it. The engine lies in a volume that only this pod has and that its server
mounts read-only; the report has the digests of the engine and of the model it was made from, so that neither a damaged nor an
old one is loaded.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from server import manifest

NAME = "report.json"
ENGINE = "engine"
"""The directory of the engine, beside the report."""


class Report(BaseModel):
    """One attempt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    """The digest of the model."""
    engine: str | None = None
    """The digest of the engine's directory; None: there is none."""
    reason: str | None = None
    """Why there is none."""
    seconds: float = 0.0
    """How long compiling and comparing took."""
    nodes: int = 0
    """Of all trees."""
    rows: int = 0
    """So many rows were answered by both."""
    worst: float = 0.0
    """The largest difference between them: of a probability, or of a number relative to its size or spread."""

    def write(self, directory: Path) -> None:
        """Under its name, whole or not at all."""
        unnamed = directory / (NAME + ".partial")
        unnamed.write_text(self.model_dump_json())
        unnamed.replace(directory / NAME)


def read(directory: Path, model: str) -> Report:
    """The report on this very model, its engine verified; one that says why there is none, whatever is wrong."""
    try:
        report = Report.model_validate_json((directory / NAME).read_bytes())
    except FileNotFoundError:
        return Report(model=model, reason="nobody has compiled it: that is what the command fetch does")
    except (OSError, ValidationError):
        return Report(model=model, reason="the report on its compiling can't be read")
    if report.model != model:
        return Report(model=model, reason="another model was compiled")
    if report.engine is not None and manifest.of_directory(directory / ENGINE).digest != report.engine:
        return Report(model=model, reason="its compiled form was changed after it was written")
    return report
