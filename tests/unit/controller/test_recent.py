"""What was looked up last is kept, and only so much of it."""

from controller.recent import Recent


def test_what_was_not_asked_for_the_longest_is_dropped() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_a_key_that_is_put_again_takes_no_more_room() -> None:
    recent: Recent[str, int] = Recent(2)
    for value in range(5):
        recent.put("a", value)
    recent.put("b", 2)
    assert (recent.get("a"), recent.get("b")) == (4, 2)
