"""A version in a file for a pull request: one place changes, and nothing around it."""

import pytest
import yaml

from training.errors import InputError
from training.pinning import chosen, pin_text

DIGEST = "sha256:" + "a" * 64

BLOCK = """\
# who owns this: team fraud
apiVersion: mlserving.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud}   # one line
spec:
  model:
    name: fraud
    alias: champion   # followed until May
  replicas: 3


  gates:
    maxSize:   500Mi
"""


def pinned(text: str, resource: str | None = None) -> str:
    return pin_text(text, chosen(text, resource), "5", DIGEST)


def test_the_alias_gives_way_to_version_and_digest_and_comments_stay() -> None:
    expected = f"version: 5   # followed until May\n    digest: {DIGEST}"
    assert pinned(BLOCK) == BLOCK.replace("alias: champion   # followed until May", expected)


def test_pinning_again_changes_two_values() -> None:
    once = pinned(BLOCK)
    again = pin_text(once, chosen(once, None), "6", "sha256:" + "b" * 64)
    assert again == once.replace("version: 5", "version: 6").replace("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{name: fraud, alias: champion}", f"{{name: fraud, version: 5, digest: {DIGEST}}}"),
        ("{version: '3', name: fraud}  # old", f"{{version: 5, digest: {DIGEST}, name: fraud}}  # old"),
        ("{name: fraud}", f"{{name: fraud, version: 5, digest: {DIGEST}}}"),
        (f"{{digest: {DIGEST[:-1]}b, version: 3, name: fraud}}", f"{{digest: {DIGEST}, version: 5, name: fraud}}"),
        ('\n    "alias": "champion"\n    name: fraud', f"\n    version: 5\n    digest: {DIGEST}\n    name: fraud"),
        ("\n    name: fraud   # mine", f"\n    name: fraud   # mine\n    version: 5\n    digest: {DIGEST}"),
        ("\n    version: 4", "The file has no such"),
    ],
)
def test_every_way_to_write_it(model: str, expected: str) -> None:
    before, after = BLOCK.split("\n    name: fraud\n    alias: champion   # followed until May")
    space = " " if model.startswith("{") else ""
    text = before + space + model + after
    if expected.startswith("The file"):
        assert chosen(text, None).model == ""
        return
    assert pinned(text) == before + space + expected + after


def test_the_line_break_of_the_file_is_kept() -> None:
    text = BLOCK.replace("\n", "\r\n")
    assert pinned(text) == pinned(BLOCK).replace("\n", "\r\n")
    assert pinned(BLOCK[: BLOCK.index("   # followed")]).endswith(f"    version: 5\n    digest: {DIGEST}")


def test_of_several_one_is_named_and_the_others_stay() -> None:
    other = BLOCK.replace("{name: fraud}", "{name: canary}")
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: fraud}\n"
    text = f"{BLOCK}---\n{service}---\n{other}"
    with pytest.raises(InputError, match=r"more than one such ModelDeployment: fraud \(model fraud\), canary .*--resource"):
        chosen(text, None)
    assert pinned(text, "canary") == f"{BLOCK}---\n{service}---\n{pinned(other)}"
    with pytest.raises(InputError, match="has no such ModelDeployment; it has fraud"):
        chosen(text, "absent")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "The file is no YAML"),
        ("kind: Service\n", "has no such ModelDeployment; it has none"),
        (BLOCK.replace("alias: champion   #", "alias: champion\n    version: 3   #"), "Write it by hand: version: 5"),
    ],
)
def test_what_can_not_be_pinned_is_told(text: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        pinned(text)
    assert complaint in str(raised.value)


def test_the_result_is_what_the_operator_takes() -> None:
    assert yaml.safe_load(pinned(BLOCK))["spec"]["model"] == {"name": "fraud", "version": 5, "digest": DIGEST}
