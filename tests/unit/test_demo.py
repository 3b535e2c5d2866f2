"""What the demo prints outlives it."""

from tests.demo import lasting


def test_links_into_mlflow_are_those_of_the_forward_that_a_person_opens() -> None:
    said = "version 3\n  http://127.0.0.1:40123/#/models/fraud/versions/3\n"
    assert lasting(said) == "version 3\n  http://127.0.0.1:5000/#/models/fraud/versions/3\n"
