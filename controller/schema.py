"""What the types of the resource are made of: strict for what a person writes, lenient for what we wrote earlier."""

from typing import Annotated, Any

from pydantic import AfterValidator, AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from controller.quantity import bytes_of


def rule(rule: str, message: str) -> dict[str, str]:
    """A rule in CEL, and what `kubectl apply` says where it is broken."""
    return {"rule": rule, "message": message}


def rules(*rules: dict[str, str]) -> dict[str, Any]:
    """For `json_schema_extra`."""
    return {"x-kubernetes-validations": list(rules)}


class Spec(BaseModel):
    """What a person writes."""

    model_config = ConfigDict(alias_generator=AliasGenerator(to_camel), validate_by_name=True, extra="forbid", frozen=True)


class Status(BaseModel):
    """What we wrote earlier, perhaps as another version of ourselves."""

    model_config = ConfigDict(alias_generator=AliasGenerator(to_camel), validate_by_name=True, extra="ignore", frozen=True)


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _size(value: str) -> str:
    bytes_of(value)
    return value


# An integer or a string of digits, as people write either.
VersionNumber = Annotated[
    str,
    BeforeValidator(_digits),
    Field(pattern=r"^[1-9][0-9]{0,9}$"),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 64,
            **rules(
                rule(
                    "type(self) == int ? self >= 1 && self <= 9999999999 : self.matches('^[1-9][0-9]{0,9}$')",
                    "a version is the number of a registered model version, such as 3;"
                    " to follow a name such as 'champion', use alias instead",
                )
            ),
        }
    ),
]

# A quantity of CPU or memory. The bound keeps the cost of the CEL rules estimable.
Quantity = Annotated[
    str,
    BeforeValidator(_digits),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            **rules(
                rule(
                    "type(self) == int ? self >= 0 : isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",
                    "not a quantity; write CPU as '500m' or '2', memory as '512Mi' or '1Gi'",
                )
            ),
        }
    ),
]

# A number of bytes; at least one.
Size = Annotated[
    str,
    BeforeValidator(_digits),
    AfterValidator(_size),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            **rules(
                rule(
                    "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isInteger()"
                    " && quantity(self).isGreaterThan(quantity('0'))",
                    "not a number of bytes; write it as '2Mi', '500Mi' or '1Gi'",
                )
            ),
        }
    ),
]
