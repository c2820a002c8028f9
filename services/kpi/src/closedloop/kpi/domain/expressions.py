"""The formula language of the catalogue: expressions over the columns of one topic's frame, a small part of SQL's.

Polars' SQL dialect computes it, but only what stands in the lists below gets that far: there are no subqueries, aggregates, casts,
dates, files or clocks in it. So a formula can only look at the one event before it, and cannot fail on data once it was loaded.

    type = 'order.status_changed.v1' AND status IN ('completed', 'failed')
    CASE WHEN severity = 1 THEN 2 ELSE 1 END

Unknown stays unknown: a comparison with a field that the event does not have is neither true nor false (`coalesce` decides it).
"""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from closedloop.kpi.domain.columns import CLOSED_LISTS, SCHEMA

KEYWORDS: Final = frozenset(
    {"AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE", "BETWEEN", "LIKE", "CASE", "WHEN", "THEN", "ELSE", "END"}
)
FUNCTIONS: Final = frozenset(
    {"coalesce", "nullif", "abs", "least", "greatest", "floor", "ceil", "lower", "upper", "starts_with", "ends_with"}
)
MAX_CHARS: Final = 2000
MAX_NESTING: Final = 32

Kind = Literal["condition", "quantity"]
"""A condition is true, false or unknown; a quantity is a number, and a condition in its place counts 1 or 0."""

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign><=|>=|<>|!=|[=<>+*/%(),]|-(?!-))""",
    re.VERBOSE,
)
_COMPARISONS: Final = frozenset({"=", "<>", "!=", "<", ">", "<=", ">="})
_OPERANDS: Final = frozenset({"text", "number", "truth", "null", "column"})


class FormulaRefused(ValueError):
    """A formula that cannot be taken; the text names the word."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A checked formula. Equal where topic and text are."""

    topic: str
    text: str
    columns: frozenset[str]
    expression: pl.Expr = field(compare=False, repr=False)
    is_truth: bool = field(default=False, compare=False)
    """Whether it says true or false, and not a number."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, number, truth, null, column, function, keyword, sign
    text: str


def formula(text: str, topic: str, kind: Kind) -> Formula:
    """The formula over the topic's frame. Raises FormulaRefused."""
    if len(text) > MAX_CHARS:
        raise FormulaRefused(f"is {len(text)} characters long; the limit is {MAX_CHARS}")
    tokens = _tokens(text, topic)
    _check_shape(tokens)
    _check_comparisons(tokens, topic)
    expression, dtype = _compiled(text, topic, kind)
    columns = frozenset(token.text for token in tokens if token.kind == "column")
    return Formula(topic, text, columns, expression, dtype == pl.Boolean)


def suggestion(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?` or nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean `{by_lower[close[0]]}`?" if close else ""


def _tokens(text: str, topic: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaRefused(f"`{text[at : at + 12]}` is not part of the formula language")
        at = match.end()
        if match.lastgroup == "word":
            found.append(_named(match[0], text[at:].lstrip().startswith("("), topic))
        elif match.lastgroup is not None and match.lastgroup != "space":
            found.append(_Token(match.lastgroup, match[0]))
        if match.lastgroup == "number" and not math.isfinite(float(match[0])):
            raise FormulaRefused(f"`{match[0]}` is too large a number")
    if not found:
        raise FormulaRefused("is empty")
    return found


def _named(word: str, is_called: bool, topic: str) -> _Token:
    upper = word.upper()
    if upper in ("TRUE", "FALSE"):
        return _Token("truth", upper)
    if upper == "NULL":
        return _Token("null", upper)
    if upper in KEYWORDS:
        return _Token("keyword", upper)
    if is_called:
        if word.lower() not in FUNCTIONS:
            raise FormulaRefused(f"unknown function `{word}`{suggestion(word, FUNCTIONS)} (there are {_listed(FUNCTIONS)})")
        return _Token("function", word)
    if word not in SCHEMA[topic]:
        columns = SCHEMA[topic]
        raise FormulaRefused(f"unknown column `{word}` of {topic}{suggestion(word, columns) or f' (there are {_listed(columns)})'}")
    return _Token("column", word)


def _check_shape(tokens: list[_Token]) -> None:
    """Two operands need an operator between them (in SQL the second would silently be a name); IS asks only for NULL."""
    depth = 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        depth += (token.text == "(") - (token.text == ")")
        if depth > MAX_NESTING:
            raise FormulaRefused(f"is nested deeper than {MAX_NESTING}")
        ended = before is not None and (before.kind in _OPERANDS or before.text in (")", "END"))
        if ended and (token.kind in _OPERANDS or token.kind == "function" or token.text == "("):
            raise FormulaRefused(f"an operator is missing before `{token.text}`")
        if before is not None and before.text == "IS" and token.text not in ("NOT", "NULL"):
            raise FormulaRefused(f"`IS {token.text}` is not part of the formula language; write `= {token.text}` or `coalesce`")
    for first, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if first.text == "IS" and second.text == "NOT" and third.text != "NULL":
            raise FormulaRefused(
                f"`IS NOT {third.text}` is not part of the formula language; write `<> {third.text}` or `coalesce`"
            )


def _check_comparisons(tokens: list[_Token], topic: str) -> None:
    """A column is compared with values that it can have: Polars would say false to others, and the indicator stay 0 for ever."""
    for index, token in enumerate(tokens):
        if token.kind != "column":
            continue
        after = [t.text for t in tokens[index + 1 : index + 4]]
        if after and after[0] in _COMPARISONS:
            _check_value(token.text, tokens[index + 2 : index + 3], after[0], topic)
        if index >= 2 and tokens[index - 1].text in _COMPARISONS:
            _check_value(token.text, tokens[index - 2 : index - 1], tokens[index - 1].text, topic)
        opening = 2 if after[:2] == ["IN", "("] else 3 if after == ["NOT", "IN", "("] else None
        if opening is not None:
            rest = tokens[index + opening + 1 :]
            closing = next((n for n, t in enumerate(rest) if t.text == ")"), len(rest))
            for value in rest[:closing]:
                _check_value(token.text, [value], "=", topic)


def _check_value(column: str, value: list[_Token], comparison: str, topic: str) -> None:
    if not value or value[0].kind not in ("text", "number", "truth", "null"):
        return
    literal = value[0]
    if literal.kind == "null":
        raise FormulaRefused(f"nothing equals NULL; write `{column} IS NULL` or `{column} IS NOT NULL`")
    dtype = SCHEMA[topic][column]
    expected = "text" if dtype == pl.String else "truth" if dtype == pl.Boolean else "number" if dtype.is_numeric() else None
    if literal.kind != expected:
        raise FormulaRefused(f"column `{column}` is {_TYPE_NAMES.get(expected, str(dtype))}, `{literal.text}` is not")
    choices = CLOSED_LISTS[topic].get(column)
    said = literal.text[1:-1].replace("''", "'")
    if choices and comparison in ("=", "<>", "!=") and said not in choices:
        raise FormulaRefused(f"`{said}` is no {column}{suggestion(said, choices)} (there are {_listed(choices)})")


_TYPE_NAMES: Final[dict[str | None, str]] = {"text": "text", "truth": "true or false", "number": "a number"}


def _compiled(text: str, topic: str, kind: Kind) -> tuple[pl.Expr, pl.DataType]:
    """The expression and its type, tried on a frame of the topic's schema: with a row of values and one of nulls."""
    try:
        expression = pl.sql_expr(text)
        pl.LazyFrame(schema=SCHEMA[topic]).select(result=expression).collect_schema()
        dtype = _PROBES[topic].select(result=expression)["result"].dtype
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        problem = (str(error).splitlines() or ["cannot be computed"])[0]
        raise FormulaRefused(f"cannot be understood: {problem}") from None
    if kind == "condition" and dtype != pl.Boolean:
        raise FormulaRefused(f"must be a condition (true or false), and `{text}` is {_said(dtype)}")
    if kind == "quantity" and not (dtype.is_numeric() or dtype == pl.Boolean):
        raise FormulaRefused(f"must be a number or a condition, and `{text}` is {_said(dtype)}")
    return expression, dtype


def _said(dtype: pl.DataType) -> str:
    return "text" if dtype == pl.String else "a number" if dtype.is_numeric() else str(dtype)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _probe(topic: str) -> pl.DataFrame:
    values: dict[type[pl.DataType], object] = {
        pl.String: "x",
        pl.Float64: 1.5,
        pl.Int64: 2,
        pl.Int32: 2,
        pl.Boolean: True,
        pl.List: ["x"],
        pl.Datetime: 0,
    }
    return pl.DataFrame(
        {name: pl.Series([values[type(dtype)], None], dtype=dtype) for name, dtype in SCHEMA[topic].items()}, schema=SCHEMA[topic]
    )


_PROBES: Final = {topic: _probe(topic) for topic in SCHEMA}
