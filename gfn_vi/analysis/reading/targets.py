"""Which runs have one target: numbers of different targets are not compared.

One target is one choice of target and of its parts, and one value of every key below `target`, the digests of data files among
them. Of drawn data the seed is such a key, so that each seed is a target of its own, unless the experiment says in BLOCKS of its
figure.py that they are repetitions of one setting.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from gfn_vi.analysis.reading.choices import OF_TARGETS, PREFIX, columns_of_choices
from gfn_vi.analysis.reading.groups import NOT_SET, key_in_words, short, telling_columns


def target_labels(table: pd.DataFrame, blocks: Collection[str] = ()) -> pd.Series:
    """Return for each row what tells its target from the others, "" where there is one. blocks: dotted keys that tell none."""
    columns = [name for name in columns_of_choices(table) if name in OF_TARGETS]
    columns += [name for name in map(str, table.columns) if name.startswith(f"{PREFIX}target.")]
    columns = [name for name in columns if name.removeprefix(PREFIX) not in blocks]
    columns.sort(key=lambda name: name.endswith(".digest"))  # last: a path says more, where it tells targets apart
    if not columns:
        return pd.Series("", table.index)
    codes = table.groupby(columns, observed=True, dropna=False, sort=False).ngroup()
    distinct = table.loc[~codes.duplicated().to_numpy(), columns].reset_index(drop=True).astype(object)
    texts = distinct.map(lambda value: NOT_SET if pd.isna(value) else short(value))
    labels = pd.Series("", texts.index)
    for name in telling_columns(texts):
        labels += (f" {key_in_words(name)}=" + texts[name]).where(texts[name] != NOT_SET, "")
    return pd.Series(labels.str.strip().to_numpy()[codes], table.index)


def by_target(table: pd.DataFrame, blocks: Collection[str] = ()) -> dict[str, pd.DataFrame]:
    """Return label -> rows of each target, small numbers before large ones; the table under "" where there is one target."""
    labels = target_labels(table, blocks)
    return {str(label): table[labels == label] for label in sorted(labels.unique(), key=by_number)}


def by_number(label: str) -> list[tuple[int, float, str]]:
    """Return a key that sorts texts with the numbers in them by size: "[8]" before "[16]"."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(1, float(part), "") if part[:1].isdigit() else (0, 0.0, part) for part in parts]
