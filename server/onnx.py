"""Trees as a model of ONNX Runtime, written byte by byte: nodes of the one operator TreeEnsemble, of ai.onnx.ml 5.

The package `onnx` would be forty megabytes for what is a page of protobuf. What is written here is data: ONNX Runtime
checks it when it loads it, and parity checks it against scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IR_VERSION, OPSET, ML_OPSET = 10, 21, 5
FLOAT, UINT8, DOUBLE = 1, 2, 11
"""Element types of TensorProto."""
ATTRIBUTE_INT, ATTRIBUTE_TENSOR, ATTRIBUTE_INTS = 2, 4, 7
LESS_OR_EQUAL, MEMBER = 0, 6
SUM = 1

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree, node by node; a child of -1 makes a leaf."""

    left: Integers
    """Where a row goes whose value is at most the threshold, or in the set."""
    right: Integers
    feature: Integers
    threshold: Floats
    missing_left: Booleans
    """Where a row goes whose value is missing."""
    sets: dict[int, tuple[int, ...]]
    """Of nodes that ask for a category, which is a whole number: those that go left."""
    target: int
    """The output to which its leaves add."""
    weight: Floats
    """What each node adds if it is a leaf."""


def encode(groups: Sequence[Sequence[Tree]], width: int, targets: int, *, single: bool) -> bytes:
    """The model: from rows `x` of `width` numbers to the sums of what `targets` outputs got, `y0` from the first group of trees
    and so on. `single`: in float32."""
    kind = FLOAT if single else DOUBLE
    nodes = b"".join(_message(1, _node(number, trees, targets, single=single)) for number, trees in enumerate(groups))
    outputs = b"".join(_message(12, _value(f"y{number}", targets, kind)) for number in range(len(groups)))
    graph = nodes + _text(2, "trees") + _message(11, _value("x", width, kind)) + outputs
    opsets = _message(8, _text(1, "ai.onnx.ml") + _integer(2, ML_OPSET)) + _message(8, _integer(2, OPSET))
    return _integer(1, IR_VERSION) + _message(7, graph) + opsets


def _node(number: int, trees: Sequence[Tree], targets: int, *, single: bool) -> bytes:
    kind, dtype = (FLOAT, np.float32) if single else (DOUBLE, np.float64)
    nodes = _Nodes(trees)
    attributes = [
        _integers("tree_roots", nodes.roots),
        _integers("nodes_featureids", nodes.feature),
        _tensor("nodes_modes", UINT8, nodes.mode.astype(np.uint8)),
        _tensor("nodes_splits", kind, (_floor(nodes.threshold) if single else nodes.threshold).astype(dtype)),
        _integers("nodes_truenodeids", nodes.left),
        _integers("nodes_falsenodeids", nodes.right),
        _integers("nodes_trueleafs", nodes.left_is_leaf),
        _integers("nodes_falseleafs", nodes.right_is_leaf),
        _integers("nodes_missing_value_tracks_true", nodes.missing_left),
        _integers("leaf_targetids", nodes.target),
        _tensor("leaf_weights", kind, nodes.weight.astype(dtype)),
        _integer_attribute("n_targets", targets),
        _integer_attribute("aggregate_function", SUM),
    ]
    if nodes.members:
        attributes.append(_tensor("membership_values", kind, np.array(nodes.members, dtype)))
    return _text(1, "x") + _text(2, f"y{number}") + _text(4, "TreeEnsemble") + b"".join(attributes) + _text(7, "ai.onnx.ml")


class _Nodes:
    """All trees in the arrays of the operator, where inner nodes and leaves are numbered apart."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.members: list[float] = []
        parts: list[tuple[npt.NDArray[np.generic], ...]] = []
        leaves: list[tuple[Integers, Floats]] = []
        roots: list[int] = []
        first_node = first_leaf = 0
        for tree in trees:
            inner = tree.left >= 0
            roots.append(first_node)
            if not inner.any():  # the operator has no tree of one leaf: both ways lead to it
                parts.append(tuple(np.array([x]) for x in (0, LESS_OR_EQUAL, 0.0, first_leaf, first_leaf, 1, 1, 0)))
                leaves.append((np.array([tree.target]), tree.weight[:1]))
                first_node, first_leaf = first_node + 1, first_leaf + 1
                continue
            where = np.flatnonzero(inner)
            number = np.where(inner, np.cumsum(inner) - 1 + first_node, np.cumsum(~inner) - 1 + first_leaf)
            left, right = tree.left[where], tree.right[where]
            mode = np.full(len(where), LESS_OR_EQUAL)
            threshold = tree.threshold[where]
            for node, members in sorted(tree.sets.items()):
                place = np.searchsorted(where, node)
                if members:
                    mode[place], threshold[place] = MEMBER, 0.0
                    self.members += [*map(float, members), np.nan]
                else:  # only what is missing goes left; the operator has no empty set, but no category is at most this
                    threshold[place] = -np.inf
            parts.append(
                (
                    tree.feature[where],
                    mode,
                    threshold,
                    number[left],
                    number[right],
                    ~inner[left],
                    ~inner[right],
                    tree.missing_left[where],
                )
            )
            ends = np.flatnonzero(~inner)
            leaves.append((np.full(len(ends), tree.target), tree.weight[ends]))
            first_node, first_leaf = first_node + len(where), first_leaf + len(ends)
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        self.feature, self.mode, self.threshold, self.left, self.right = columns[:5]
        self.left_is_leaf, self.right_is_leaf, self.missing_left = columns[5:]
        self.target, self.weight = (np.concatenate(column) for column in zip(*leaves, strict=True))
        self.roots = np.array(roots)


def _floor(thresholds: Floats) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above: x <= threshold says the same of every x in float32."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


# --- protobuf ---------------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varints(numbers: npt.NDArray[np.generic]) -> bytes:
    """Many at once: millions of nodes are not a loop in Python."""
    rest = numbers.astype(np.uint64)
    columns = [rest & np.uint64(0x7F)]
    present = [np.ones(len(rest), np.bool_)]
    while (rest := rest >> np.uint64(7)).any():
        present.append(rest > 0)
        columns[-1] |= present[-1].astype(np.uint64) << np.uint64(7)
        columns.append(rest & np.uint64(0x7F))
    return np.stack(columns, axis=1)[np.stack(present, axis=1)].astype(np.uint8).tobytes()


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _integer(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _integers(name: str, numbers: npt.NDArray[np.generic]) -> bytes:
    return _message(5, _text(1, name) + _message(8, _varints(numbers)) + _integer(20, ATTRIBUTE_INTS))


def _integer_attribute(name: str, number: int) -> bytes:
    return _message(5, _text(1, name) + _integer(3, number) + _integer(20, ATTRIBUTE_INT))


def _tensor(name: str, kind: int, content: npt.NDArray[np.generic]) -> bytes:
    raw = content.astype(content.dtype.newbyteorder("<")).tobytes()
    tensor = _integer(1, len(content)) + _integer(2, kind) + _message(9, raw)
    return _message(5, _text(1, name) + _message(5, tensor) + _integer(20, ATTRIBUTE_TENSOR))


def _value(name: str, width: int, kind: int) -> bytes:
    shape = _message(1, _text(2, "rows")) + _message(1, _integer(1, width))
    return _text(1, name) + _message(2, _message(1, _integer(1, kind) + _message(2, shape)))
