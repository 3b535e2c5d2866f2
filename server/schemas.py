"""The bodies that clients read and write, as types: what the OpenAPI document is made of."""

from typing import Any

from pydantic import BaseModel

from server.artifact import Label


class Answered(BaseModel):
    """The answer to one row."""

    prediction: Label | list[Label]
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    model_version: str
    latency_ms: float


class Predictions(BaseModel):
    """The answers of V1 and of MLflow's protocol: one for each row."""

    predictions: list[Label | list[Label]]


class Tensor(BaseModel):
    """A tensor of the Open Inference Protocol. Its data may be nested by its shape, or follow the JSON as bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class WantedOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferenceRequest(BaseModel):
    """A tensor for each feature, or one of shape [rows, features]."""

    id: str | None = None
    parameters: dict[str, Any] | None = None
    inputs: list[Tensor]
    outputs: list[WantedOutput] | None = None


class InferenceResponse(BaseModel):
    """The outputs that were asked for; `predict` if none was."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


class Mistake(BaseModel):
    """One feature, what is wrong with it, and in which row, counted from 1, where there are several."""

    feature: str
    message: str
    row: int | None = None


class Failure(BaseModel):
    """Why there is no answer."""

    type: str
    message: str
    details: list[Mistake]


class Failed(BaseModel):
    """The body of every response of /predict that is no answer."""

    error: Failure


class PlainlyFailed(BaseModel):
    """The same in V1 and V2."""

    error: str
    type: str
    details: list[Mistake]


class InvocationFailed(BaseModel):
    """The same in MLflow's protocol."""

    error_code: str
    message: str
    type: str
    details: list[Mistake]


class Health(BaseModel):
    """What the pod does now, and with which model."""

    status: str
    model: str
    version: str


class Live(BaseModel):
    """Whether the server lives."""

    live: bool


class Ready(BaseModel):
    """Whether it answers now."""

    ready: bool


class ModelStatus(BaseModel):
    """Whether a model answers now."""

    name: str
    ready: bool


class Models(BaseModel):
    """The names of the models here."""

    models: list[str]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives; -1 in its shape is any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The tensors of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def responses(success: type[BaseModel], *failures: int, failed: type[BaseModel] | None = None) -> dict[int | str, dict[str, Any]]:
    """What a route can answer, as FastAPI documents it."""
    return {200: {"model": success}, **{status: {"model": failed or success} for status in sorted(failures)}}
