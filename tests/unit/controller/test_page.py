"""The page on ModelDeployment knows every reason that the code can give, every field of the spec, and every module."""

import re
from pathlib import Path

from controller.crd import custom_resource_definition

CONTROLLER = Path(__file__).parents[3] / "controller"
PAGE = (CONTROLLER / "README.md").read_text()
# A reason is a CamelCase literal, given where an error, a refusal, a fault, an event or a condition is made.
MAKER = "Waiting|Stalling|Refusal|_Verdict|Fault|Failure|Announcement"
GIVEN = re.compile(rf'(?:{MAKER})\(\s*(?:True, |False, |"Normal", |"Warning", |reason=)?"(?!Normal|Warning)([A-Z][A-Za-z]+)"')
CONDITION = re.compile(r'(?:return|\() ?(?:True|False|None), "([A-Z][A-Za-z]+)"|return "([A-Z][A-Za-z]+)", f?"')


def test_every_reason_is_explained() -> None:
    reasons: set[str] = set()
    for path in CONTROLLER.rglob("*.py"):
        for pattern in (GIVEN, CONDITION):
            reasons |= {next(filter(None, found.groups())) for found in pattern.finditer(path.read_text())}
    assert {"ModelNotFound", "HeldByPerson", "DigestMismatch", "OutOfMemory", "PodsReady", "ScaledToZero", "HoldEnded"} <= reasons
    assert sorted(reason for reason in reasons if f"`{reason}`" not in PAGE) == []


def test_every_field_of_the_spec_is_on_the_page() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields = [f"model.{name}" for name in spec["model"]["properties"]] + [name for name in spec if name != "model"]
    assert [field for field in fields if f"`{field}" not in PAGE] == []


def test_every_module_is_on_the_page() -> None:
    how = PAGE[PAGE.index("## How it works") :]
    modules = {path.stem for path in CONTROLLER.glob("*.py")} - {"__init__"}
    assert sorted(module for module in modules if f"`{module}`" not in how) == []
