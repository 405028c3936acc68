"""What the columns of a table are in a plot, in seaborn's words: x, hue, style, col, row; and that nothing is mixed unseen.

A line of a plot is a mean, or another statistic, over seeds. Runs of one line that differ in something else than seeds would be
averaged without a word: whatever differs has to be named.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from gfn_vi.analysis.reading.choices import PREFIX
from gfn_vi.analysis.reading.curves import X_LABELS
from gfn_vi.analysis.reading.groups import (
    NOT_SET,
    SEED_COLUMNS,
    config_columns,
    group_labels,
    key_in_words,
    short,
    telling_columns,
)
from gfn_vi.analysis.reading.targets import target_labels
from gfn_vi.core.errors import is_number, listed
from gfn_vi.runs.folders import TableError

ROLES = ("hue", "style", "col", "row")
# What a command line may say besides columns.
WORDS = (
    *("y", "x", *ROLES, *(f"{role}_order" for role in ROLES), "statistic", "worst", "yscale", "xscale", "sharey"),
    *("width", "height", "col_wrap", "out"),
)
CALLED = {"color": "hue", "colour": "hue", "config.seed": "seed"}  # by others, and that of a run
LIKE = 0.65  # how near a word is that is suggested; those of WORDS are short, and near to anything below it
SEED = "seed"  # of each replica
SEED_OF_RUN = f"{PREFIX}{SEED}"  # of its first replica, or a list: no plot is told by it
SETTING = "setting"  # a column of the labels of reports, where no single column tells the runs apart
MOST_NAMED = 6  # in an error


def column_of(table: pd.DataFrame, name: str, key: str | None = None) -> str:
    """Return the column that a person means by `name`. Raises TableError for one that says nothing.

    key: where it was given, as in hue=NAME; None: it is a key itself, as in NAME=value, which may be a misspelled word of WORDS.
    """
    known = ["arm", *(column for column in config_columns(table) if column != SEED_OF_RUN), SEED]
    for column in (name, f"{PREFIX}{name}", f"{PREFIX}{name}._target_"):
        if column in known and table[column].notna().any():
            return column
    columns = [key_in_words(column) for column in known if table[column].notna().any()]
    words = WORDS if key is None else tuple(X_LABELS) if key == "x" else ()
    near = difflib.get_close_matches(CALLED.get(name, name), [*columns, *words], n=1, cutoff=LIKE)
    other = f", and it is none of {', '.join(words)}" if words and (key == "x" or not near) else ""
    meant = f"; did you mean {near[0]}?" if near else ""
    differ = [key_in_words(column) for column in known if table[column].nunique(dropna=False) > 1]
    told = f"the runs differ in {listed(differ, MOST_NAMED)}" if differ else "all runs are of one setting"
    given = name if key is None else f"{key}={name}"
    raise TableError(f"{given}: no run has such a choice or key{other}{meant}; {told}")


def kept(table: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows whose columns have one of the values, given as text with commas between. Raises TableError for none."""
    for name, text in wanted.items():
        column = column_of(table, name)
        values = table[column].astype(object).map(lambda value: NOT_SET if pd.isna(value) else short(value))
        table = table[chosen(values, text, name)]
        if table.empty:
            raise TableError(f"{name}={text}: no run is left with the other values that were asked for")
    return table


def chosen(values: pd.Series, text: str, key: str) -> pd.Series:
    """Return where `values` are in the list that the text gives. Raises TableError for a word of it that no value equals."""
    present = sorted(set(values))
    words = [_as_written(word, present) for word in split(text)]
    for word in words:
        if word not in present:
            near = difflib.get_close_matches(word, present, n=1, cutoff=0.5)
            meant = f"; did you mean {near[0]}?" if near else ""
            expected = f"{'one of ' * (len(present) > 1)}{listed(present, MOST_NAMED)}"
            raise TableError(f"{key}={word}: expected {expected}{meant}")
    return values.isin(words)


def _as_written(word: str, present: Sequence[str]) -> str:
    """Return the value that a person means by 1e-3 or True: 0.001, true."""
    if is_number(word):
        return next((value for value in present if is_number(value) and float(value) == float(word)), word)
    return next((value for value in present if value.lower() == word.lower()), word)


def split(text: str) -> list[str]:
    """Return the parts between commas outside of brackets: of "[16,16],[32]" two."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def mixed(rows: pd.DataFrame, named: Sequence[str]) -> list[str]:
    """Return columns other than `named` and seeds in which runs differ that are equal in `named`."""
    others = [name for name in ["arm", *config_columns(rows)] if name not in named and name not in SEED_COLUMNS]
    distinct = rows[[*dict.fromkeys(named), *others]].drop_duplicates().astype(object)
    distinct = distinct.where(distinct.notna(), NOT_SET)
    if not named:
        return [name for name in others if distinct[name].nunique() > 1]
    groups = distinct.groupby(list(dict.fromkeys(named)), sort=False)[others].nunique()
    return [name for name in others if (groups[name] > 1).any()]


def assigned(
    table: pd.DataFrame, x: str, roles: Mapping[str, str], say: Callable[[str], object]
) -> tuple[pd.DataFrame, str, dict[str, str]]:
    """Return the table, the column of x (or its clock) and role -> column, such that the lines hold nothing but seeds.

    Without a hue, what differs becomes it, and a line says so. Raises TableError where runs of a line differ in anything else.
    """
    found = {role: column_of(table, name, role) for role, name in roles.items()}
    along = x if x in X_LABELS else column_of(table, x, "x")
    named = [*found.values(), *([along] if along not in X_LABELS else [])]
    labels = target_labels(table)
    if not {"col", "row", "hue"} & set(found) and labels.nunique() > 1:
        alone = [name for name in mixed(table, named) if _tells(table[name], labels)]
        if alone:
            found["col"] = telling_columns(table[alone].drop_duplicates().astype(str))[0]
            named.append(found["col"])
            say(f"col={key_in_words(found['col'])}, since the runs have several targets")
    left = mixed(table, named)
    if left and "hue" not in found:
        alone = [column for column in left if not mixed(table, [*named, column])]
        if alone:
            best = telling_columns(table[alone].drop_duplicates().astype(str)) if "arm" not in alone else ["arm"]
            found["hue"] = (best or alone)[0]
        else:
            table = table.assign(**{SETTING: group_labels(table[["arm", *(name for name in left if name != "arm")]])})
            found["hue"] = SETTING
        say(f"hue={key_in_words(found['hue'])}, in which the runs differ")
        left = mixed(table, [*named, found["hue"]])
    if left:
        telling = telling_columns(table[left].drop_duplicates().astype(str)) or left
        present = table[telling[0]].dropna()
        example = f"{key_in_words(telling[0])}={short(present.iloc[0]) if len(present) else NOT_SET}"
        names = listed([key_in_words(name) for name in telling], MOST_NAMED)
        raise TableError(f"runs of one line differ in {names}: name it (x, hue, style, col, row), or keep one, as in {example}")
    _say_of_targets(table, labels, found, say)
    return table, along, found


def _tells(column: pd.Series, labels: pd.Series) -> bool:
    """Return whether each target has values of the column of its own."""
    return bool((labels.groupby(_filled(column), observed=True).nunique() == 1).all())


def _filled(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), NOT_SET)


def _say_of_targets(table: pd.DataFrame, labels: pd.Series, found: Mapping[str, str], say: Callable[[str], object]) -> None:
    """Say it where a panel shows lines of several targets: their heights are not comparable."""
    if labels.nunique() == 1 or not any(role in found for role in ("hue", "style")):
        return
    by = [_filled(table[found[role]]) for role in ("col", "row") if role in found]
    most = labels.groupby(by).nunique().max() if by else labels.nunique()
    if most > 1:
        say(f"a panel holds {most} targets, whose numbers are not comparable: col= or row= gives each a panel of its own")
