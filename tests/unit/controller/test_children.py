"""What counts as drift: what the spec wants and is not so; never what others have added."""

import pytest

from controller.children import covers

WANTED = {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}


@pytest.mark.parametrize(
    "live",
    [
        WANTED,
        {"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"a": "b"}, "clusterIP": "10.0.0.1"}, "status": {}},
    ],
    ids=["the same", "with defaults of the API server"],
)
def test_covered(live: object) -> None:
    assert covers(live, WANTED)


@pytest.mark.parametrize(
    "live",
    [
        {"spec": {"ports": [{"port": 81}], "selector": {"a": "b"}}},
        {"spec": {"ports": [{"port": 80}, {"port": 81}], "selector": {"a": "b"}}},
        {"spec": {"ports": [], "selector": {"a": "b"}}},
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": None},
    ],
    ids=["another value", "an entry more", "an entry less", "a field less", "nothing"],
)
def test_drifted(live: object) -> None:
    assert not covers(live, WANTED)
