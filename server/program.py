"""A compiled model as data: what happens to a row, step by step, in numbers that JSON can hold. Nothing here executes anything.

Trees and the tables of their leaves are too big for JSON; they lie beside it, in files that a part names.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from server.artifact import Label
from server.signature import Columns, Vector
from server.table import Value

Numbers: TypeAlias = tuple[float, ...]
Indices: TypeAlias = tuple[int, ...]


class Part(BaseModel):
    """Frozen, and nothing unknown: a part that this server does not know is not skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


# --- steps: from cells to a matrix of numbers -------------------------------------------------------------------------


class Arithmetic(Part):
    """One number a column: what scalers do, in their order."""

    kind: Literal["arithmetic"] = "arithmetic"
    operator: Literal["add", "subtract", "multiply", "divide"]
    operand: Numbers


class Clip(Part):
    """Nothing below or above."""

    kind: Literal["clip"] = "clip"
    low: float
    high: float


class Apply(Part):
    """A function of numpy, of each number by itself."""

    kind: Literal["apply"] = "apply"
    function: Literal["abs", "exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "square"]


class Select(Part):
    """Some of the columns, in this order."""

    kind: Literal["select"] = "select"
    columns: Indices


class Impute(Part):
    """A number for what is missing, and for some columns whether it was."""

    kind: Literal["impute"] = "impute"
    columns: Indices
    fill: Numbers
    indicated: Indices = ()


class ImputeCells(Part):
    """The same for cells that are no numbers."""

    kind: Literal["impute-cells"] = "impute-cells"
    fill: tuple[Value, ...]


class Positions(Part):
    """One column of categories: which of `width` columns is 1 for each; -1: none."""

    keys: tuple[Value, ...]
    positions: Indices
    width: int
    unknown: int | None
    """For a category that is not among the keys; None: it is refused."""


class OneHot(Part):
    """Categories as columns of 0 and 1."""

    kind: Literal["one-hot"] = "one-hot"
    columns: tuple[Positions, ...]


class Codes(Part):
    """One column of categories: the numbers that stand for each."""

    keys: tuple[Value, ...]
    codes: tuple[Numbers, ...]
    unknown: Numbers | None


class Encode(Part):
    """Categories as numbers."""

    kind: Literal["encode"] = "encode"
    columns: tuple[Codes, ...]


class Numeric(Part):
    """Cells that are all numbers, from here on as a matrix."""

    kind: Literal["numeric"] = "numeric"


class Branch(Part):
    """Some of the columns, and what happens to them."""

    columns: Indices
    steps: tuple["Step", ...]


class Branches(Part):
    """The results of several branches, side by side."""

    kind: Literal["branches"] = "branches"
    branches: tuple[Branch, ...]


Step: TypeAlias = Annotated[
    Arithmetic | Clip | Apply | Select | Impute | ImputeCells | OneHot | Encode | Numeric | Branches, Field(discriminator="kind")
]


# --- what answers in the end ------------------------------------------------------------------------------------------


class Ensemble(Part):
    """A file of trees, and what scikit-learn does with its rows before it follows them."""

    file: str
    apart: str
    """The same trees, each with an output of its own."""
    targets: Indices
    """To which output of the sum each tree adds."""
    single: bool
    """Whether the rows are made float32, as in all trees but those of histograms."""
    missing: bool
    """Whether a row may have missing values."""


class Votes(Part):
    """Forests that classify: the mean of what the leaves say about each class."""

    kind: Literal["votes"] = "votes"
    trees: Ensemble
    leaves: str
    """A file with a row for each leaf of all trees."""
    members: int


class Boosted(Part):
    """Boosted trees that classify."""

    kind: Literal["boosted"] = "boosted"
    trees: Ensemble
    link: Literal["logistic", "exponential", "softmax"]
    zero_is_second: bool
    """Whether a sum of 0 means the second of two classes."""


class Sum(Part):
    """Trees that predict numbers."""

    kind: Literal["sum"] = "sum"
    trees: Ensemble
    members: int
    """By how many the sum is divided."""
    link: Literal["identity", "exp"] = "identity"


class LinearClassifier(Part):
    """A plane for each class, or one for two."""

    kind: Literal["linear-classifier"] = "linear-classifier"
    coefficients: tuple[Numbers, ...]
    intercepts: Numbers
    probabilities: Literal["logistic", "softmax", "huber"] | None


class Linear(Part):
    """One plane that predicts numbers."""

    kind: Literal["linear"] = "linear"
    coefficients: Numbers
    intercept: float
    link: Literal["identity", "exp"] = "identity"


class Sigmoid(Part):
    """Platt's correction of a score."""

    kind: Literal["sigmoid"] = "sigmoid"
    slope: float
    intercept: float


class Isotonic(Part):
    """A correction by straight lines between points."""

    kind: Literal["isotonic"] = "isotonic"
    scores: Numbers
    probabilities: Numbers


class Calibrator(Part):
    """A classifier, and a correction of each of its scores."""

    of: "Pipe"
    corrections: tuple[Annotated[Sigmoid | Isotonic, Field(discriminator="kind")], ...]
    classes: Indices
    """Which class each correction is about."""


class Calibrated(Part):
    """The mean of corrected classifiers."""

    kind: Literal["calibrated"] = "calibrated"
    members: tuple[Calibrator, ...]
    size: int
    """How many classes there are."""


class Vote(Part):
    """Several classifiers: the mean of their probabilities, or the class that most of them name."""

    kind: Literal["vote"] = "vote"
    members: tuple["Pipe", ...]
    weights: Numbers | None
    soft: bool
    size: int


class Mean(Part):
    """The mean of several predictions of numbers."""

    kind: Literal["mean"] = "mean"
    members: tuple["Pipe", ...]
    weights: Numbers | None


Response: TypeAlias = Literal["predict", "predict_proba", "decision_function"]


class Stacked(Part):
    """What several models answer is what the last one is asked."""

    kind: Literal["stacked"] = "stacked"
    members: tuple["Pipe", ...]
    responses: tuple[Response, ...]
    passthrough: bool
    of: "Pipe"


class Threshold(Part):
    """A classifier of two classes whose score decides by another threshold."""

    kind: Literal["threshold"] = "threshold"
    of: "Pipe"
    response: Response
    positive: int
    threshold: float


Final: TypeAlias = Annotated[
    Votes | Boosted | Sum | LinearClassifier | Linear | Calibrated | Vote | Mean | Stacked | Threshold,
    Field(discriminator="kind"),
]


class Pipe(Part):
    """Steps, and what answers at their end."""

    steps: tuple[Step, ...]
    final: Final


class Program(Part):
    """A whole model."""

    format: Literal[1] = 1
    model: str
    """The digest of the model that was compiled."""
    classes: tuple[Label, ...] | None
    inputs: Columns | Vector
    """What a row is, with what only the estimator knew."""
    cells: bool
    """Whether some column is text, so that rows come as cells and not as a matrix."""
    single: Indices
    """The columns that scikit-learn gets as float32."""
    trees: int
    """How many a row goes through."""
    pipe: Pipe


for part in (Branch, Branches, Calibrator, Calibrated, Vote, Mean, Stacked, Threshold, Pipe, Program):
    part.model_rebuild()
