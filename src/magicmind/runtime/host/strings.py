"""Operators on strings: arrays of Python's `str`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host


@host("StringConcat")
def concat(call: HostCall) -> Sequence[Any]:
    """The second string after the first."""
    return [np.asarray(call.inputs[0] + call.inputs[1], object)]


@host("Equal")
def equal(call: HostCall) -> Sequence[Any]:
    """Whether two strings are the same."""
    return [np.asarray(call.inputs[0] == call.inputs[1], bool)]


@host("Cast")
def cast(call: HostCall) -> Sequence[Any]:
    """Numbers as strings, and strings as numbers."""
    x, dtype = call.inputs[0], call.dtypes[0]
    if x.dtype != object and dtype == np.dtype(object):
        return [np.array([str(value) for value in x.flat], object).reshape(x.shape)]
    numbers = [float(text) for text in x.flat] if dtype is not None and dtype.kind == "f" else list(map(int, x.flat))
    return [np.array(numbers, dtype).reshape(x.shape)]


@host("StringSplit")
def split(call: HostCall) -> Sequence[Any]:
    """The parts of each string, filled up with empty ones, and how many there are."""
    x, most = call.inputs[0], call.attr("maxsplit")
    parts = [_parts(text, call.attr("delimiter") or None, -1 if most is None else most) for text in x.flat]
    width = max(map(len, parts), default=0)
    table = np.full((len(parts), width), "", object)
    for row, found in zip(table, parts, strict=True):
        row[: len(found)] = found
    return [table.reshape(*x.shape, width), np.array([len(p) for p in parts], np.int64).reshape(x.shape)]


def _parts(text: str, delimiter: str | None, most: int) -> list[str]:
    return text.split(delimiter, most) if text else []


@host("RegexFullMatch")
def full_match(call: HostCall) -> Sequence[Any]:
    """Whether the pattern describes all of each string."""
    x, pattern = call.inputs[0], re.compile(call.attr("pattern"))
    return [np.array([pattern.fullmatch(text) is not None for text in x.flat], bool).reshape(x.shape)]


@host("StringNormalizer")
def normalizer(call: HostCall) -> Sequence[Any]:
    """Without stop words, in one case; an empty string when nothing is left."""
    x, case = call.inputs[0], call.attr("case_change_action", "NONE")
    stop, exact = call.attr("stopwords", []), bool(call.attr("is_case_sensitive", 0))
    left_out = set(stop) if exact else {word.lower() for word in stop}
    kept = [word for word in x.flat if (word if exact else word.lower()) not in left_out]
    change = {"LOWER": str.lower, "UPPER": str.upper}.get(case, str)
    words = np.array([change(word) for word in kept] or [""], object)
    return [words.reshape(*x.shape[:-1], -1)]


@host("TfIdfVectorizer")
def tf_idf(call: HostCall) -> Sequence[Any]:
    """How often each n-gram of the pool occurs in a row, weighted as `mode` says."""
    x = call.inputs[0]
    places = call.attr("ngram_indexes")
    pool = _pool(call)
    weights = call.attr("weights") or [1.0] * len(places)
    rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    found = np.zeros((len(rows), max(places) + 1), np.float32)
    for row, counts in zip(rows, found, strict=True):
        for gram in _grams(call, row):
            if gram in pool:
                counts[places[pool[gram]]] += 1
    scale = np.ones(found.shape[1], np.float32)
    for place, weight in zip(places, weights, strict=True):
        scale[place] = weight
    mode = call.attr("mode")
    if mode == "IDF":
        found = (found > 0).astype(np.float32)
    if mode in ("IDF", "TFIDF"):
        found *= scale
    return [found.reshape(*x.shape[:-1], -1)]


def _pool(call: HostCall) -> dict[tuple[Any, ...], int]:
    """The number of every n-gram of the pool."""
    items, starts = call.attr("pool_strings") or call.attr("pool_int64s"), call.attr("ngram_counts")
    pool: dict[tuple[Any, ...], int] = {}
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], len(items)], strict=True), 1):
        for at in range(start, end, length):
            pool[tuple(items[at : at + length])] = len(pool)
    return pool


def _grams(call: HostCall, row: Array) -> list[tuple[Any, ...]]:
    """All n-grams of a row, with up to `max_skip_count` elements between neighbours; single elements once."""
    words = row.tolist()
    found: list[tuple[Any, ...]] = []
    for length in range(call.attr("min_gram_length"), call.attr("max_gram_length") + 1):
        for skip in range(call.attr("max_skip_count") + 1 if length > 1 else 1):
            reach = (length - 1) * (skip + 1)
            found += [tuple(words[i : i + reach + 1 : skip + 1]) for i in range(len(words) - reach)]
    return found
