"""What the configurations of the runs differ in, per arm."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from gfn_vi.analysis.reading.choices import PREFIX, columns_of_choices

MOST_COLUMNS = 24
MOST_VALUES = 6
NOT_SET = "\N{EN DASH}"  # null, or no such key


@dataclass(frozen=True)
class Differences:
    """keys[i] has values[i][j] in group j; a group is an arm, a run where there are no arms, or all runs together."""

    groups: list[str]
    keys: list[str]
    values: list[list[str]]
    not_set: str = NOT_SET


def differences(table: pd.DataFrame) -> Differences:
    """Return the choices and the keys of the configuration in which the runs of the table really differ, in words."""
    columns = [*columns_of_choices(table), *(name for name in map(str, table.columns) if name.startswith(PREFIX))]
    configs = table[["run", "arm", *columns]].drop_duplicates(ignore_index=True)  # several of a run with a rate per replica
    arms = configs["arm"].astype(object).where(configs["arm"].notna())
    groups = arms.fillna("no arm") if arms.notna().any() else configs["run"].astype(str)
    if groups.nunique() > MOST_COLUMNS:
        groups = pd.Series("all runs", configs.index)
    names = sorted(set(groups))
    keys = [name for name in columns if configs[name].nunique(dropna=False) > 1]
    values = [[in_words(configs.loc[groups == name, key]) for name in names] for key in keys]
    return Differences(names, [key.removeprefix(PREFIX).removesuffix("._target_") for key in keys], values)


def in_words(column: pd.Series) -> str:
    """The different values; of many the first and the last."""
    found = column.drop_duplicates().astype(object)
    present = sorted(found.dropna(), key=lambda value: (isinstance(value, str), value))
    texts = [short(value) for value in present] + [NOT_SET] * bool(found.isna().any())
    if len(texts) > MOST_VALUES:
        return f"{len(texts)} values, {texts[0]} to {texts[-1]}"
    return ", ".join(texts)


def short(value: object) -> str:
    """Classes without their modules: "gfn_vi.objectives.variational.Variational" -> "Variational"."""
    if isinstance(value, float):
        return f"{value:g}"
    text = re.sub(r"\{\"_target_\": (\"[^\"]*\")\}", r"\1", str(value))
    return re.sub(r"\b(?:[a-z_]\w*\.)+([A-Z]\w*)\b", r"\1", text)
