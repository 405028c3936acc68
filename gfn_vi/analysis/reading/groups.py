"""Runs that belong together, in words: those that differ in nothing but seeds, named by as little as tells them apart.

A group is an arm, or an arm with one value of what else varies: choices (objective=reverse_kl) before keys of the configuration.
"""

from __future__ import annotations

import re

import pandas as pd

from gfn_vi.analysis.reading.choices import PREFIX, columns_of_choices
from gfn_vi.analysis.reading.seeds import SEED_KEYS

SEED_COLUMNS = frozenset(f"{PREFIX}{key}" for key in SEED_KEYS)
FIRST = ("objective", "target", "sampler", "exploration")  # of several choices that tell the same
MOST_COLUMNS, MOST_VALUES = 24, 6
NOT_SET = "\N{EN DASH}"  # null, or no such key
NO_ARM, ALL_RUNS = "no arm", "all runs"


def config_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that say how a run was configured: choices, then keys of the configuration."""
    return [*columns_of_choices(table), *(name for name in map(str, table.columns) if name.startswith(PREFIX))]


def group_labels(rows: pd.DataFrame) -> pd.Series:
    """Return for each row of the table its arm, and of the other columns as few as tell the groups of that arm apart."""
    columns = ["arm", *(name for name in config_columns(rows) if name not in SEED_COLUMNS)]
    codes = rows.groupby(columns, observed=True, dropna=False, sort=False).ngroup()  # in the order of appearance
    distinct = rows.loc[~codes.duplicated().to_numpy(), columns].reset_index(drop=True).astype(object)
    texts = distinct.map(lambda value: NOT_SET if pd.isna(value) else short(value))
    labels = pd.Series("", texts.index)
    for arm, of_arm in texts.groupby("arm"):
        for name in telling_columns(of_arm.drop(columns="arm").drop_duplicates()):
            labels[of_arm.index] += (f" {key_in_words(name)}=" + of_arm[name]).where(of_arm[name] != NOT_SET, "")
        labels[of_arm.index] = ("" if arm == NOT_SET else str(arm)) + labels[of_arm.index]
    return pd.Series(labels.str.strip().replace("", NO_ARM if len(labels) > 1 else ALL_RUNS).to_numpy()[codes], rows.index)


def telling_columns(distinct: pd.DataFrame) -> list[str]:
    """Return columns in which all the rows differ, and none that is not needed for that.

    Choices stay before keys, the most telling choices before others; of keys a name stays first, then the target's.
    """
    names = [str(name) for name in distinct.columns if distinct[name].nunique() > 1]
    choices = sorted((name for name in names if not name.startswith(PREFIX)), key=lambda name: [name != first for first in FIRST])
    keys = [name for name in names if name.startswith(PREFIX)]
    keys.sort(key=lambda name: (not name.endswith("_name"), not name.startswith(f"{PREFIX}target.")))
    kept = [*choices, *keys]
    for name in reversed(kept):
        rest = [other for other in kept if other != name]
        if rest and not distinct.duplicated(rest).any():
            kept = rest
    return kept


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return in words what the configurations really differ in: a row per choice or key, a column per group of runs.

    The groups are arms where there are arms; of too many they are all runs together.
    """
    columns = config_columns(table)
    configs = table[["run", "arm", *columns]].drop_duplicates(ignore_index=True)  # several of a run with a rate per replica
    arms = configs["arm"].astype(object).where(configs["arm"].notna())
    groups = arms.fillna(NO_ARM) if arms.notna().any() else group_labels(configs)
    if groups.nunique() > MOST_COLUMNS:
        groups = pd.Series(ALL_RUNS, configs.index)
    keys = [name for name in columns if configs[name].nunique(dropna=False) > 1]
    cells = {name: [in_words(configs.loc[groups == name, key]) for key in keys] for name in sorted(set(groups))}
    return pd.DataFrame(cells, index=[key_in_words(key) for key in keys])


def key_in_words(column: str) -> str:
    """Return the column's name without what everybody knows of it."""
    return column.removeprefix(PREFIX).removesuffix("._target_")


def in_words(column: pd.Series) -> str:
    """Return the different values; of many the first and the last."""
    found = column.drop_duplicates().astype(object)
    present = sorted(found.dropna(), key=lambda value: (isinstance(value, str), value))
    texts = [short(value) for value in present] + [NOT_SET] * bool(found.isna().any())
    if len(texts) > MOST_VALUES:
        return f"{len(texts)} values, {texts[0]} to {texts[-1]}"
    return ", ".join(texts)


def short(value: object) -> str:
    """Return classes without their modules: "gfn_vi.objectives.variational.Variational" becomes "Variational"."""
    if isinstance(value, float):
        rounded = f"{value:g}"
        return rounded if float(rounded) == value else repr(value)  # else two settings would be one group
    text = re.sub(r"\{\"_target_\": (\"[^\"]*\")\}", r"\1", str(value))
    return re.sub(r"\b(?:[a-z_]\w*\.)+([A-Z]\w*)\b", r"\1", text)
