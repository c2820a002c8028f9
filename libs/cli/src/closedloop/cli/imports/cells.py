"""One cell of an export → one value of an event, as the mapping says."""

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, get_origin

import phonenumbers

from closedloop.cli.imports.mapping import FieldSpec, Scalar, TimeSpec
from closedloop.cli.imports.times import TimeReader
from closedloop.common.events.rules import Refused

Cell = str | datetime
Convert = Callable[[Cell], Any]
_NUMBER: Final = re.compile(r"[-+]?\d+(\.\d+)?\Z", re.ASCII)
_NOT_IN_CODES: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_TRUE: Final = frozenset({"true", "yes", "y", "1", "是"})
_FALSE: Final = frozenset({"false", "no", "n", "0", "否"})


def text_of(cell: Cell) -> str:
    """The cell as text without surrounding blanks."""
    return cell.isoformat() if isinstance(cell, datetime) else cell.strip()


def converter(field: str, spec: FieldSpec, type_: Any, time: TimeSpec, missing: frozenset[str]) -> Convert:
    """A function from a cell to the field's value, None where the cell says nothing. It raises Refused naming `field`."""
    transform = _transform(field, spec)
    typed = _typed(field, spec, type_, time)

    def convert(cell: Cell) -> Any:
        text = text_of(cell)
        if not text or text in missing:
            return spec.default
        if spec.map is not None:
            if text in spec.map:
                return _checked(field, spec.map[text], type_)
            if spec.otherwise is not None:
                return spec.otherwise
            raise Refused(field, f"'{text[:40]}' is not in the mapping's `map` (add it there, or an `otherwise`)")
        if isinstance(cell, datetime) and field == "expected_by":
            return typed(cell)
        return typed(transform(text) if transform else text)

    return convert


def _transform(field: str, spec: FieldSpec) -> Callable[[str], str] | None:
    if spec.transform == "slug":
        return lambda text: slug(text, field)
    if spec.transform == "phone":
        return lambda text: e164(text, spec.country, field)
    if spec.transform == "upper":
        return str.upper
    if spec.transform == "lower":
        return str.lower
    return None


def _typed(field: str, spec: FieldSpec, type_: Any, time: TimeSpec) -> Convert:
    if field == "expected_by":
        reader = TimeReader(spec.format or time.format, spec.zone or time.zone, field)
        return lambda cell: reader.read(cell).isoformat()
    if type_ is bool:
        return lambda cell: _boolean(field, text_of(cell))
    if type_ is int:
        return lambda cell: _integer(field, text_of(cell))
    if type_ is float:
        return lambda cell: _number(field, text_of(cell))
    return text_of


def _checked(field: str, value: Scalar, type_: Any) -> Scalar:
    """A value of the mapping file in the field's type: text where text is wanted, as YAML reads 10086 as a number."""
    if get_origin(type_) is not None or type_ is str:
        return value if isinstance(value, str) else str(value)
    return value


def constant(field: str, value: Scalar, type_: Any) -> Scalar:
    """A constant of the mapping file in the field's type."""
    return _checked(field, value, type_)


def slug(text: str, field: str) -> str:
    """Text as a code: without accents, all but letters, digits, `_`, `.` and `-` as one `_`. Raises Refused if nothing is left."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    code = _NOT_IN_CODES.sub("_", folded).strip("_")[:64]
    if not code:
        raise Refused(field, f"'{text[:40]}' has no Latin letters or digits to make a code of; list its codes in a `map`")
    return code


def e164(text: str, country: str, field: str) -> str:
    """A telephone number as people write it → E.164. Raises Refused, without repeating the number."""
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        raise Refused(field, f"is not a telephone number of {country} and has no country code") from None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise Refused(field, f"is too short or too long for a telephone number of {country}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _boolean(field: str, text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Refused(field, f"'{text[:40]}' is neither yes nor no; list the words in a `map`, as in {{satisfied: true}}")


def _integer(field: str, text: str) -> int:
    number = _number(field, text)
    if not number.is_integer():
        raise Refused(field, f"'{text[:40]}' is not a whole number")
    return int(number)


def _number(field: str, text: str) -> float:
    if not _NUMBER.match(text) or len(text) > 40:
        raise Refused(field, f"'{text[:40]}' is not a number; list the words in a `map`, or use a decimal point")
    return float(text)
