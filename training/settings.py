"""Every choice of a training run: what a person can set, and the seeds and thresholds that no one has to.

Made once, on the command line or in a notebook, and passed down; nothing else in this room reads the environment.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from training import names
from training.errors import InputError

Kind: TypeAlias = Literal["number", "integer", "boolean", "string"]
"""What a column can be required to be. An integer is trained on, and served, as a number."""

Task: TypeAlias = Literal["classification", "regression"]
"""Whether classes are predicted, or quantities."""

Duplicates: TypeAlias = Literal["keep", "drop", "refuse"]
"""What is done with a row that is the same as an earlier one in every column."""

KIND_NAMES: dict[str, Kind] = {
    "number": "number", "float": "number", "double": "number",
    "integer": "integer", "int": "integer", "long": "integer",
    "boolean": "boolean", "bool": "boolean",
    "string": "string", "str": "string", "text": "string",
}  # fmt: skip
"""The same under the names that pandas and MLflow have for them."""

Range: TypeAlias = tuple[float | None, float | None]
"""Lowest and highest value, both inclusive; None leaves that side open."""

DEFAULT_TRACKING_URI = "http://127.0.0.1:5000"
"""Where `mlflow server` answers when nothing else is said."""

CHECK_SECONDS = 5
"""How long MLflow may take to answer at all, a try."""
REQUEST_SECONDS = 120
"""How long it may take to store a file, a try."""
RETRIES = 2
"""Tries after the first; MLflow's own default waits for minutes."""
LOOK_AFTER = (1, 2, 4)
"""Seconds until MLflow is asked whether it has made the version that it did not answer about, and else to make it again."""

MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""How MLflow behaves unless the user's environment says otherwise: it reports to no one, leaves the terminal to us,
does without a git program, and waits for seconds where its own default is minutes."""

REPORT = "report.html"
"""What the report is called among the run's artifacts."""

BUILT_IN_TARGET = "target"
BUILT_IN_NAME = "breast-cancer"


class RunSettings(BaseModel):
    """What `training run` is told, complete and valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = None
    """A CSV or Parquet file; None is scikit-learn's breast cancer table."""
    target: str
    """The column to predict."""
    task: Task | None = None
    """None: what the values of the target look like."""
    name: str
    """The registered model that gets a new version."""
    alias: str | None = None
    """Moved to the new version. None by default: a ModelDeployment may follow the alias, so moving it deploys."""
    tracking_uri: str
    """Where MLflow answers."""
    tags: dict[str, str] = {}
    """Set on the run and on the version; a ModelDeployment's gates can ask for them."""

    minimum: dict[str, float] = {}
    """What the test part must show at least, or at most where less is better; else nothing is registered."""
    max_loss: dict[str, float] = {}
    """How much worse than what has the alias now it may be, on the same test part; else nothing is registered."""

    drop: tuple[str, ...] = ()
    """Columns to leave out, such as identifiers."""
    require: dict[str, Kind] = {}
    """Columns that must be there, and what they must hold."""
    ranges: dict[str, Range] = {}
    """What a person declares as possible; a value outside is refused here, and later by the server."""

    positive: str | None = None
    """Of two classes the one that precision, recall, F1 and PR AUC are about. None: a rare one, else the second."""

    duplicates: Duplicates = "keep"
    """Rows that are in the table twice; one of them in each part makes the figures look better than they are."""

    trees: Annotated[int, Field(ge=1)] = 100
    max_depth: Annotated[int, Field(ge=1)] = 10
    min_samples_split: Annotated[int, Field(ge=2)] = 2
    """A part of a tree with fewer rows is not divided further."""
    balance: bool = False
    """Each class weighs the same in training, however rare: more of a rare one is found, and its probabilities are too high."""
    folds: Annotated[int, Field(ge=2)] = 5
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that nothing but the last evaluation sees."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Decides the split, the folds and the forest."""

    report: Path | None = None
    """Where the report is written as well, besides to MLflow."""

    jobs: int = -1
    """Processors that an estimator is trained on; -1: all."""
    example_rows: int = 5
    """Rows of the test part that are recorded with their answer."""
    max_categories: int = 100
    """Texts of one column that are told apart; the rarer ones are taken together, which bounds memory."""
    max_classes: int = 20
    """More different values than this in a target of whole numbers look like a quantity, not like classes."""
    rare_share: float = 0.02
    """A class with a smaller share of the rows than this is worth a remark."""
    numeric_share: float = 0.5
    """A column where this share of the values are numbers is numeric, and a text in it is a mistake."""

    @field_validator("name")
    @classmethod
    def _name_is_mlflows(cls, name: str) -> str:
        names.insist(name)
        return name

    @field_validator("tracking_uri")
    @classmethod
    def _uri_has_a_scheme(cls, uri: str) -> str:
        if "://" not in uri and uri != "databricks":
            raise InputError(f'"{uri}" is no address of an MLflow: it must begin like {DEFAULT_TRACKING_URI}.')
        return uri

    @field_validator("report")
    @classmethod
    def _report_has_a_folder(cls, report: Path | None) -> Path | None:
        return None if report is None else names.insist_on_place("--report", report)

    @field_validator("alias")
    @classmethod
    def _alias_is_mlflows(cls, alias: str | None) -> str | None:
        if alias is not None:
            names.insist("any", alias)
        return alias

    @model_validator(mode="after")
    def _a_loss_needs_an_alias(self) -> "RunSettings":
        if self.max_loss and self.alias is None:
            raise InputError("--max-loss compares with the version that has the alias now: it needs --alias.")
        return self

    @field_validator("ranges")
    @classmethod
    def _low_is_below_high(cls, ranges: dict[str, Range]) -> dict[str, Range]:
        for column, (low, high) in ranges.items():
            if low is not None and high is not None and low > high:
                raise InputError(f'The range of column "{column}" ends ({high:g}) below its start ({low:g}).')
        return ranges
