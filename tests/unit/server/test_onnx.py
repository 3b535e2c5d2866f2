"""ONNX Runtime goes through trees as one would by hand, whatever the trees are like."""

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import onnx
from server.onnx import Tree

WIDTH = 3
NUMBERS = st.sampled_from([-math.inf, -2.5, -1.0, 0.0, 0.1, float(np.float32(0.1)), np.nextafter(0.1, 1.0), 1.0, 3.0, math.inf])
CATEGORIES = st.integers(0, 40)


@st.composite
def trees(draw: Any, categories: bool) -> Tree:
    """A random tree: each inner node has its children after it, as in scikit-learn."""
    inner = draw(st.integers(0, 6))
    count = 2 * inner + 1
    left, right = np.full(count, -1), np.full(count, -1)
    waiting = [0]
    following = 1
    for _ in range(inner):
        node = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
        left[node], right[node] = following, following + 1
        if draw(st.booleans()):
            left[node], right[node] = right[node], left[node]
        waiting += [following, following + 1]
        following += 2
    return Tree(
        left=left,
        right=right,
        feature=np.array(draw(st.lists(st.integers(0, WIDTH - 1), min_size=count, max_size=count))),
        threshold=np.array(draw(st.lists(NUMBERS, min_size=count, max_size=count))),
        missing_left=np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))),
        sets={
            node: tuple(sorted(draw(st.sets(CATEGORIES, min_size=1, max_size=30))))
            for node in range(count)
            if categories and left[node] >= 0 and draw(st.booleans())
        },
        target=0,
        weight=np.arange(count) / 7,
    )


def walked(tree: Tree, row: np.ndarray[Any, Any]) -> float:
    node = 0
    while tree.left[node] >= 0:
        value = row[tree.feature[node]]
        if math.isnan(value):
            goes_left = bool(tree.missing_left[node])
        elif node in tree.sets:
            goes_left = value in tree.sets[node]
        else:
            goes_left = value <= tree.threshold[node]
        node = int(tree.left[node] if goes_left else tree.right[node])
    return float(tree.weight[node])


def answered(content: bytes, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    result: np.ndarray[Any, Any] = session.run(None, {"x": rows})[0]
    return result


ROWS = np.array(
    [[a, b, c] for a in (-3.0, 0.1, np.nan) for b in (0.0, 1.0, 5.0, 33.0) for c in (np.nan, float(np.float32(0.1)), 7.0)]
)
WHOLE = np.array([[a, b, c] for a in (-3.0, 2.0, np.nan) for b in (0.0, 1.0, 31.0, 32.0) for c in (np.nan, 40.0, 7.0)])


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(categories=True), min_size=1, max_size=4))
def test_the_weights_of_the_leaves_are_added_up_in_the_order_of_the_trees(forest: list[Tree]) -> None:
    rows = WHOLE if any(tree.sets for tree in forest) else ROWS
    expected = [[sum((walked(tree, row) for tree in forest), 0.0)] for row in rows]
    assert answered(onnx.encode([forest], WIDTH, 1, single=False), rows).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(trees(categories=False))
def test_in_single_precision_a_row_goes_where_its_exact_value_would(tree: Tree) -> None:
    rows = ROWS.astype(np.float32)
    found = answered(onnx.encode([[tree]], WIDTH, 1, single=True), rows)
    assert found.tolist() == [[np.float32(walked(tree, row.astype(np.float64)))] for row in rows]


def test_numbers_of_any_length_are_written_as_protobuf_wants_them() -> None:
    numbers = np.array([0, 1, 127, 128, 300, 16383, 16384, 2**21, 2**40 + 5])
    assert onnx._varints(numbers) == b"".join(onnx._varint(int(number)) for number in numbers)
    assert onnx._varint(300) == b"\xac\x02"


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_root_whose_children_have_the_same_number_is_no_leaf(mirrored: bool) -> None:
    """The third of all leaves and the third of all nodes, under the root of the second tree (microsoft/onnxruntime#24679)."""
    first = small([1, -1, -1], [2, -1, -1])
    children = ([1, -1, 3, -1, -1], [2, -1, 4, -1, -1])
    forest = [first, small(children[mirrored], children[not mirrored])]
    rows = np.array([[-1.0], [3.0], [9.0]])
    expected = [[walked(forest[0], row) + walked(forest[1], row)] for row in rows]
    assert answered(onnx.encode([forest], 1, 1, single=False), rows).tolist() == expected


def small(left: list[int], right: list[int]) -> Tree:
    """A tree over one column."""
    count = len(left)
    return Tree(
        left=np.array(left),
        right=np.array(right),
        feature=np.zeros(count, int),
        threshold=np.arange(count, dtype=np.float64) * 2.5,
        missing_left=np.zeros(count, bool),
        sets={},
        target=0,
        weight=np.arange(count, dtype=np.float64) + 0.5,
    )
