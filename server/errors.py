"""What can go wrong in a server pod, named by what follows from it.

* ServerError
  - Fatal                 the process ends, with an exit code and a termination message
    + SettingsInvalid     78: whoever wrote the settings must change them
    + TokensMissing       78: whoever wants tokens to be asked for must give the pod some
    + StoreUnavailable    69: the store did not deliver; trying again later may help
    + Unexpected          70: nobody thought of this; the log has where it happened
    + ModelNotWritten     74: the pod's own disk does not take the model
    + ModelAtFault        65: no other attempt can help, the model itself must change
      · DigestMismatch    the files in the pod are not those that its digest names
      · PathEscapes       a file of the model wants to lie outside its directory
      · FlavorUnsupported not a scikit-learn model that this server can load
      · PickleDenied      it would execute what its author put into it, and the spec forbids that
      · TypesUntrusted    it would build objects of types that nobody has allowed
      · LoadFailed        it is one, but it does not load
      · ExampleFailed     it loads, but raises on its own recorded example
      · ExampleMismatch   it answers its recorded example otherwise than when it was trained
      · NotCompiled       it has no compiled form that answers like it, and the spec wants nothing else
      · LoadTooSlow       it is right, and loading takes longer than the spec allows
      · LatencyTooHigh    it is right, and predicting takes longer than the spec allows
  - Refused               one request gets no prediction; the process goes on
    + InvalidBody         what was sent is not JSON, or not of the form that its route takes
    + OutOfBounds         a value outside what a person declared as possible, or outside training where that is refused
    + InvalidFeatures     a feature is missing, unknown or of another type
    + Unanswerable        all is of the right type, and the estimator refuses it
    + BodyTooLarge        more bytes than this server takes
    + BodyTooSlow         the body did not arrive in time
    + UnsupportedMedia    the body is of a kind that its route does not take
    + Unauthorized        the request shows no token that this server knows
    + UnknownModel        the request is for a model, or a version, that is not the one here
    + NotReady            the model is not loaded yet
    + Overloaded          more requests than this pod can answer; try again, elsewhere if possible
    + PredictionTooSlow   the model took longer than a request may take

HTTP knows nothing of the first half, and the status codes of the second half stand in `app`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_TEXT = 300
"""How much of a foreign exception's text is repeated: it may come from the model, and goes into a condition."""


class ServerError(Exception):
    """The root of everything that this room raises on purpose. Its text is a sentence for a person."""

    @property
    def reason(self) -> str:
        """The name in CamelCase that conditions, metrics and error bodies repeat."""
        return type(self).__name__


class Fatal(ServerError):
    """The process can't go on."""

    exit_code: int


class SettingsInvalid(Fatal):
    """The settings can't be understood: EX_CONFIG."""

    exit_code = 78


class TokensMissing(Fatal):
    """Clients have to show a token, and there is none that could be shown: EX_CONFIG."""

    exit_code = 78


class StoreUnavailable(Fatal):
    """No store delivered the model in time: EX_UNAVAILABLE."""

    exit_code = 69


class Unexpected(Fatal):
    """An exception that nobody foresaw: EX_SOFTWARE."""

    exit_code = 70


class ModelNotWritten(Fatal):
    """The directory for the model can't be written to, which is the fault of the pod's surroundings: EX_IOERR."""

    exit_code = 74


class ModelAtFault(Fatal):
    """The model must change before a pod can serve it: EX_DATAERR."""

    exit_code = 65


class DigestMismatch(ModelAtFault):
    """The bytes of the model are not those that its digest names."""


class PathEscapes(ModelAtFault):
    """A path of the model leads out of the model's directory."""


class FlavorUnsupported(ModelAtFault):
    """The model is of a kind that this server does not load."""


class PickleDenied(ModelAtFault):
    """The model is a pickle, which the spec forbids."""


class TypesUntrusted(ModelAtFault):
    """The model's skops file has types that are on no list."""


class LoadFailed(ModelAtFault):
    """The model can't be loaded."""


class ExampleFailed(ModelAtFault):
    """The model can't answer its own recorded example."""


class ExampleMismatch(ModelAtFault):
    """The model answers its recorded example otherwise than recorded."""


class NotCompiled(ModelAtFault):
    """Only a compiled model is wanted, and this one can't be."""

    @classmethod
    def because(cls, reason: str) -> "NotCompiled":
        """With what stands in the way, and the way out."""
        return cls(
            f"spec.server.engine is Compiled, and this model can't be: {reason}. With engine Auto, scikit-learn itself answers."
        )


class LoadTooSlow(ModelAtFault):
    """Loading took longer than the spec allows."""


class LatencyTooHigh(ModelAtFault):
    """Predictions took longer than the spec allows."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One mistake in a request: which feature, what is wrong with it, and in which row, where there are several."""

    feature: str
    message: str
    row: int | None = None

    def __str__(self) -> str:
        """In words; a mistake without a feature is one of the whole row."""
        if self.row is None:
            return f"{self.feature} {self.message}".strip()
        return f"row {self.row}: {self.feature} {self.message}" if self.feature else f"row {self.row} {self.message}"


class Refused(ServerError):
    """One request gets no prediction."""

    def __init__(self, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class InvalidBody(Refused):
    """The body is not what its route takes: no JSON, or JSON of another form."""


class OutOfBounds(Refused):
    """A value lies outside the bounds that a person declared."""


class InvalidFeatures(Refused):
    """Features are missing, unknown or of another type than the signature says."""


class Unanswerable(Refused):
    """The estimator itself refuses values that fit the signature."""


class BodyTooLarge(Refused):
    """The body has more bytes than this server takes."""


class BodyTooSlow(Refused):
    """The body did not arrive within the time that a request may take."""


class UnsupportedMedia(Refused):
    """The content type is none that this route takes."""


class Unauthorized(Refused):
    """There is no bearer token, or none that is known."""


class UnknownModel(Refused):
    """The path names a model or a version that this pod does not serve."""


class NotReady(Refused):
    """The model is not loaded yet."""


class Overloaded(Refused):
    """As many requests wait as this pod can answer in reasonable time."""


class PredictionTooSlow(Refused):
    """The model did not answer within the time that a request may take."""


def text_of(error: BaseException) -> str:
    """An exception of a model in one bounded line."""
    return f"{type(error).__name__}: {bounded(str(error))}"


def bounded(text: str) -> str:
    """A text that may come from a model, in one line that is not too long."""
    line = " ".join(text.split())
    return line[:MAX_TEXT] + ("…" if len(line) > MAX_TEXT else "")


REFUSALS = (*(kind.__name__ for kind in Refused.__subclasses__()), "Internal")
"""Every reason for which a request gets no prediction; the last one is nobody's intention."""
