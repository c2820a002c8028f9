"""Proof for many JSON texts at once that each is plainly strict: what `common.events.strict_json` counts per record, in columns.

Only for texts that a closed decoder (see `closed`) takes: they are valid JSON without control characters inside strings, all
their keys are known, and no key of the envelope is one of the data. Without a backslash each `":` then ends a key; without white
space before a colon these are all the keys; so when they are as many as the *different* keys that are found, none stands twice.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

CHUNK: Final = 1024
"""Texts a step where they are joined: the arrays stay in the processor's cache."""
SUSPICIOUS: Final = ("\\", " :", "\t", "\n", "\r", "\x7f", '""')
"""Escapes, space that may hide a key, DEL (which no identifier may hold) and empty strings (which none may be)."""
_BLOCK: Final = 128
_QUOTE: Final = 0x22
Mask: TypeAlias = NDArray[np.bool_]


class StrictnessProof:
    """For a closed decoder that knows `keys`, of which all its types require `required`."""

    def __init__(self, keys: Iterable[str], required: Iterable[str]) -> None:
        always = frozenset(required)
        text = pl.col("text")
        found: pl.Expr = pl.lit(len(always), dtype=pl.UInt32)
        for key in sorted(set(keys) - always):
            found = found + text.str.contains(f'"{key}":', literal=True).cast(pl.UInt32)
        doubts = text.str.count_matches('":', literal=True) != found
        for mark in SUSPICIOUS:
            doubts = doubts | text.str.contains(mark, literal=True)
        self._doubts = doubts.alias("doubts")

    def prepare(self, texts: Sequence[bytes]) -> pl.LazyFrame:
        """What `unproved` evaluates; apart, because this part holds the interpreter's lock and that does not."""
        try:
            column = pl.Series("text", texts, dtype=pl.Binary).cast(pl.String)
        except pl.exceptions.ComputeError:  # one of them is not UTF-8; no decoder takes it anyway
            column = pl.Series("text", [text if text.isascii() or _is_utf8(text) else b"" for text in texts]).cast(pl.String)
        return pl.LazyFrame({"text": column}).select(self._doubts)

    @staticmethod
    def unproved(prepared: pl.LazyFrame) -> Mask:
        """True where a text was *not* shown to be without escapes, empty strings, DEL and duplicate keys."""
        return prepared.collect().to_series().to_numpy().copy()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_long_strings(texts: Sequence[bytes]) -> Mask:
    """True wherever a string has 255 or more bytes, and for some texts besides: all others keep the limits on identifiers.

    A string of 255 bytes covers, wherever it begins, a whole block of 128 bytes in which there is no quote.
    """
    mask = np.zeros(len(texts), dtype=np.bool_)
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        octets = np.frombuffer(b"".join(chunk), dtype=np.uint8)
        quotes = octets[: len(octets) // _BLOCK * _BLOCK] == _QUOTE
        quoteless = np.flatnonzero(np.bitwise_or.reduce(quotes.view(np.uint64).reshape(-1, _BLOCK // 8), axis=1) == 0)
        if quoteless.size:
            ends = np.cumsum(np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk)))
            mask[start + np.searchsorted(ends, quoteless * _BLOCK, side="right")] = True
    return mask
