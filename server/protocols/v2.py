"""The Open Inference Protocol (V2) over REST: tensors in, tensors out, as JSON or in the binary extension.

A model with named features takes a tensor for each, of shape [rows] or [rows, 1] (what MLServer calls the content type pd); a
table of numbers may come as one tensor of shape [rows, features]. Outputs are called as MLServer's scikit-learn runtime does.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from server.artifact import Label
from server.checked import Checked
from server.engine import Predicted
from server.errors import InvalidBody
from server.jsontext import dumps, loads
from server.protocols import Asked, Model, Reply, Request, Typed
from server.protocols.typed import Form
from server.signature import Columns
from server.table import ColumnType

DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Of tensors with elements of one size; BYTES is the other kind."""

DATATYPES: Mapping[ColumnType, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "datetime": "BYTES",
}

Shape = TypeVar("Shape", bound=tuple[int, int])

JSON_SIZE_HEADER = b"inference-header-content-length"


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Inference(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _Numbers(msgspec.Struct, Generic[Shape], forbid_unknown_fields=True):
    name: str
    shape: Shape
    datatype: Literal["FP64", "FP32", "INT64", "INT32"]
    data: list[float]


class _Unnamed(msgspec.Struct, Generic[Shape], forbid_unknown_fields=True):
    inputs: tuple[_Numbers[Shape]]


class _Named(msgspec.Struct, Generic[Shape], forbid_unknown_fields=True):
    id: str
    inputs: tuple[_Numbers[Shape]]


_SINGLE = Form(_Unnamed[tuple[Literal[1], int]], colons=5), Form(_Named[tuple[Literal[1], int]], colons=6)
_MANY = Form(_Unnamed[tuple[int, int]], colons=5), Form(_Named[tuple[int, int]], colons=6)
_PREDICTIONS = (("predict", False),)


class Infer:
    """The protocol."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._columns = frozenset(c.name for c in model.inputs.columns) if isinstance(model.inputs, Columns) else frozenset()

    def decode(self, request: Request) -> Asked:
        """The rows in the tensors of a request."""
        size = len(request.content) if request.json_size is None else request.json_size
        if not 0 <= size <= len(request.content):
            raise InvalidBody(f"Inference-Header-Content-Length is {size}, and the body has {len(request.content)} bytes.")
        try:
            inference = msgspec.convert(loads(request.content[:size]), _Inference)
        except msgspec.ValidationError as e:
            raise InvalidBody(f"The body is no inference request: {e}.") from e
        except UnicodeEncodeError as e:
            raise InvalidBody("The body has a key with half of a character in it.") from e
        tensors = self._tensors(inference, request.content[size:])
        outputs = inference.outputs or [_Output("predict")]
        for output in outputs:
            if output.name not in self.outputs:
                raise InvalidBody(f"There is no output {output.name[:60]!r}; this model has {', '.join(self.outputs)}.")
        binary = bool((inference.parameters or {}).get("binary_data_output"))
        wanted = [(output.name, bool((output.parameters or {}).get("binary_data", binary))) for output in outputs]
        return Asked(self._rows(inference.inputs, tensors), partial(self._reply, inference.id, wanted))

    def typed(self, content: bytes, *, single: bool) -> Typed | None:
        """One tensor of numbers, and nothing said of the outputs."""
        unnamed, identified = _SINGLE if single else _MANY
        found = unnamed.read(content) or identified.read(content)
        if found is None:
            return None
        (tensor,) = found.inputs
        if tensor.name in self._columns or not tensor.shape[1] or math.prod(tensor.shape) != len(tensor.data):
            return None
        name = found.id if isinstance(found, _Named) else None
        rows = [tensor.data] if tensor.shape[0] == 1 else _rows(tensor.data, tensor.shape[1])
        return Typed(rows, partial(self._reply, name, _PREDICTIONS))

    @property
    def outputs(self) -> tuple[str, ...]:
        """What can be asked for."""
        return ("predict", "predict_proba", "classes") if self._model.has_probabilities else ("predict",)

    def _tensors(self, inference: _Inference, binary: bytes) -> list[Sequence[Any] | npt.NDArray[Any]]:
        """The elements of each tensor, in a row."""
        tensors: list[Sequence[Any] | npt.NDArray[Any]] = []
        offset = 0
        for tensor in inference.inputs:
            called = f"The tensor {tensor.name[:60]!r}"
            if any(size < 0 for size in tensor.shape) or not 1 <= len(tensor.shape) <= 2:
                shape = tensor.shape[:5]
                raise InvalidBody(f"{called} has the shape {shape}; [rows] or [rows, features] is expected.")
            if tensor.datatype not in DTYPES and tensor.datatype != "BYTES":
                raise InvalidBody(f"{called} is of type {tensor.datatype[:60]!r}, which this protocol does not have.")
            size = (tensor.parameters or {}).get("binary_data_size")
            elements: Sequence[Any] | npt.NDArray[Any]
            if size is None:
                elements = _flat(tensor.data)
            elif isinstance(size, int) and 0 <= size <= len(binary) - offset:
                elements = _from_binary(tensor.datatype, binary[offset : offset + size])
                offset += size
            else:
                raise InvalidBody(f"{called} has a binary_data_size of {str(size)[:20]}, and the body ends before.")
            if len(elements) != math.prod(tensor.shape):
                raise InvalidBody(f"{called} has {len(elements)} elements; its shape says {math.prod(tensor.shape)}.")
            tensors.append(elements)
        if offset != len(binary):
            raise InvalidBody(f"After the tensors, {len(binary) - offset} bytes are left in the body.")
        return tensors

    def _rows(self, inputs: Sequence[_Tensor], tensors: Sequence[Sequence[Any] | npt.NDArray[Any]]) -> Checked:
        if len(inputs) == 1 and inputs[0].name not in self._columns and len(inputs[0].shape) == 2:
            return self._model.validator.cells(_table(tensors[0], inputs[0].shape[1]))
        if not self._columns or not inputs:
            raise InvalidBody("The inputs are not one tensor of shape [rows, features], which this model takes.")
        for tensor in inputs:
            if len(tensor.shape) == 2 and tensor.shape[1] != 1:
                called = f"The tensor {tensor.name[:60]!r}"
                raise InvalidBody(f"{called} has the shape {tensor.shape}; a feature has [rows] or [rows, 1].")
        if len({len(elements) for elements in tensors}) > 1:
            raise InvalidBody("The tensors are not of one length; each has an element for every row.")
        names = [tensor.name for tensor in inputs]
        if all(isinstance(elements, np.ndarray) and elements.dtype.kind == "f" for elements in tensors):
            return self._model.validator.cells(np.column_stack([np.asarray(elements, np.float64) for elements in tensors]), names)
        lists = [_listed(elements) for elements in tensors]
        return self._model.validator.cells([list(row) for row in zip(*lists, strict=True)], names)

    def _reply(self, name: str | None, wanted: Sequence[tuple[str, bool]], predicted: Predicted, _: float) -> Reply:
        described: list[dict[str, Any]] = []
        pieces: list[bytes] = []
        for output, binary in wanted:
            known: Mapping[str, Sequence[Any]] = {
                "predict": predicted.predictions,
                "predict_proba": predicted.probabilities or [],
                "classes": self._model.classes or [],
            }
            values = known[output]
            shape = [len(values), len(values[0])] if values and isinstance(values[0], list) else [len(values)]
            flat = list(chain.from_iterable(values)) if len(shape) == 2 else list(values)
            datatype = "FP64" if output == "predict_proba" else datatype_of(flat)
            tensor: dict[str, Any] = {"name": output, "shape": shape, "datatype": datatype}
            if datatype == "BYTES":
                flat = [one if isinstance(one, str) else dumps(one).decode() for one in flat]
            if binary:
                pieces.append(_to_binary(datatype, flat))
                tensor["parameters"] = {"binary_data_size": len(pieces[-1])}
            else:
                tensor["data"] = flat
            described.append(tensor)
        content: dict[str, Any] = {"model_name": self._model.name, "model_version": self._model.version, "outputs": described}
        if name:
            content["id"] = name
        head = dumps(content)
        if not pieces:
            return Reply(head)
        return Reply(b"".join([head, *pieces]), b"application/octet-stream", ((JSON_SIZE_HEADER, b"%d" % len(head)),))


def metadata(model: Model) -> dict[str, Any]:
    """The tensors that the model takes and gives; -1 is the number of rows."""
    if isinstance(model.inputs, Columns):
        inputs = [{"name": c.name, "datatype": DATATYPES[c.type], "shape": [-1]} for c in model.inputs.columns]
    else:
        inputs = [{"name": "input-0", "datatype": "FP64", "shape": [-1, model.inputs.width or -1]}]
    several = isinstance(model.answer, list)
    answers = model.answer if isinstance(model.answer, list) else [0.0 if model.answer is None else model.answer]
    labels = datatype_of(answers if model.classes is None else model.classes)
    outputs: list[dict[str, Any]] = [{"name": "predict", "datatype": labels, "shape": [-1, len(answers)] if several else [-1]}]
    if model.has_probabilities:
        count = len(model.classes or ())
        outputs.append({"name": "predict_proba", "datatype": "FP64", "shape": [-1, count]})
        outputs.append({"name": "classes", "datatype": labels, "shape": [count]})
    described = {"name": model.name, "versions": [model.version], "platform": "sklearn"}
    return {**described, "inputs": inputs, "outputs": outputs}


def datatype_of(labels: Sequence[Label]) -> str:
    """The type of a tensor of labels."""
    kinds = {type(label) for label in labels}
    if kinds <= {int}:
        return "INT64"
    if kinds <= {int, float}:
        return "FP64"
    return "BOOL" if kinds <= {bool} else "BYTES"


def _flat(data: Any) -> Sequence[Any]:
    """The elements of a tensor in JSON, which may be nested by its shape or not."""
    if not isinstance(data, list):
        raise InvalidBody("A tensor has no data: a list of elements, or binary_data_size, is expected.")
    if data and all(isinstance(row, list) for row in data):
        return list(chain.from_iterable(data))
    return data


def _from_binary(datatype: str, piece: bytes) -> Sequence[Any] | npt.NDArray[Any]:
    try:
        if datatype != "BYTES":
            return np.frombuffer(piece, DTYPES[datatype])
        texts: list[str] = []
        offset = 0
        while offset < len(piece):
            (size,) = struct.unpack_from("<I", piece, offset)
            if size > len(piece) - offset - 4:
                raise InvalidBody("A tensor of BYTES ends in the middle of an element.")
            texts.append(piece[offset + 4 : offset + 4 + size].decode())
            offset += 4 + size
        return texts
    except UnicodeDecodeError as e:
        raise InvalidBody("A tensor of BYTES has an element that is not UTF-8.") from e
    except (ValueError, struct.error) as e:
        raise InvalidBody(f"A tensor of {datatype} ends in the middle of an element.") from e


def _to_binary(datatype: str, flat: Sequence[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(flat, DTYPES[datatype]).tobytes()
    encoded = [text.encode() for text in flat]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _table(elements: Sequence[Any] | npt.NDArray[Any], width: int) -> Sequence[Any] | npt.NDArray[Any]:
    if isinstance(elements, np.ndarray):
        return elements.reshape(-1, width) if width else elements.reshape(0, 0)
    return _rows(elements, width)


def _rows(elements: Sequence[Any], width: int) -> list[Sequence[Any]]:
    return [elements[start : start + width] for start in range(0, len(elements), width)] if width else []


def _listed(elements: Sequence[Any] | npt.NDArray[Any]) -> Sequence[Any]:
    if not isinstance(elements, np.ndarray):
        return elements
    return [None if cell != cell else cell for cell in cast("list[Any]", elements.tolist())]
