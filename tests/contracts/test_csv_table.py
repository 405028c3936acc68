"""The user's table: what is read, what is held out, and every refusal by its words."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.dags.csv_table import CsvTable
from gfn_vi.targets.dags.data import ErdosRenyiData, Table

OTHERWISE = ErdosRenyiData(3, 1.0, 1.0, 0.1, n_samples=7, n_held_out=2, seed=5)
GOOD = "a,b,c\n1,2,3\n2,-1.5,1e-3\n4,0,7\n5,6,8\n"


def csv_table(
    path: Path | str | None,
    separator: str = ",",
    standardize: bool = False,
    held_out_fraction: float = 0.0,
    seed: int = 0,
    digest: str | None = None,
    columns: list[str] | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    missing: Any = (),
) -> CsvTable:
    found = None if path is None else str(path)
    return CsvTable(
        found, OTHERWISE, separator, standardize, held_out_fraction, seed, digest, columns, decimal, thousands, missing
    )


def table(path: Path | str | None, separator: str = ",", **arguments: Any) -> Table:
    return csv_table(path, separator, **arguments).table()


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "my table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


VARIANTS: dict[str, tuple[str | bytes, str]] = {
    "as it should be": (GOOD, ","),
    "packed": (gzip.compress(GOOD.encode()), ","),
    "semicolons": (GOOD.replace(",", ";"), ";"),
    "tabs": (GOOD.replace(",", "\t"), "\t"),
    "tabs as they are written in an override": (GOOD.replace(",", "\t"), r"\t"),
    "a byte-order mark": ("\ufeff" + GOOD, ","),
    "a spreadsheet's line ends": (GOOD.replace("\n", "\r\n"), ","),
    "spaces and blank lines": ("\n" + GOOD.replace(",", " , ").replace("\n", "\n\n"), ","),
    "quotes": (GOOD.replace("a,b", '"a","b"').replace("4,0", '"4","0"'), ","),
    "no line end": (GOOD.rstrip("\n"), ","),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_numbers_are_those_of_the_file(variant: str, tmp_path: Path) -> None:
    text, separator = VARIANTS[variant]
    read = table(written(tmp_path, text), separator)
    assert read.names == ("a", "b", "c")
    expected = torch.tensor([[1, 2, 3], [2, -1.5, 1e-3], [4, 0, 7], [5, 6, 8]], dtype=torch.float64)
    torch.testing.assert_close(read.values, expected, rtol=0, atol=0)
    assert read.held_out.shape == (0, 3)
    assert read.held_out.dtype == torch.float64
    assert read.graph is None


def test_names_may_be_anything_but_numbers_alone(tmp_path: Path) -> None:
    assert table(written(tmp_path, GOOD.replace("a,b,c", "NA,2019,p53 (µg/l)"))).names == ("NA", "2019", "p53 (µg/l)")


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    values = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).exp() ** 5
    lines = ["x,y", *(f"{a!r},{b!r}" for a, b in values.tolist())]
    assert torch.equal(table(written(tmp_path, "\n".join(lines))).values, values)


def test_numbers_behind_a_sign_and_zeros_are_read_to_the_last_bit(tmp_path: Path) -> None:
    """pandas counts leading zeros among the digits that it keeps where a plus sign stands in front."""
    cells = ["+0.0000000000000000000000123456789012345678", "000000000000000000010084566", "-0.00000000000000000001366", "+1e-30"]
    path = written(tmp_path, "\n".join(["a,b", *(f"{cell},{i * i}" for i, cell in enumerate(cells))]))
    assert table(path).values[:, 0].tolist() == [float(cell) for cell in cells]


def test_without_a_path_it_is_the_other_table() -> None:
    found, expected = table(None), OTHERWISE.table()
    assert found.names == expected.names
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.held_out, expected.held_out)


def test_sums_of_columns_are_not_refused(tmp_path: Path) -> None:
    rows = [(1.0, 2.0), (2.0, 5.0), (4.0, 3.0), (0.5, 0.0), (7.0, 1.0)]
    lines = ["a,b,sum,double", *(f"{a},{b},{a + b},{2 * a}" for a, b in rows)]
    assert table(written(tmp_path, "\n".join(lines))).values.shape == (5, 4)


def test_held_out_rows_are_chosen_by_the_seed(tmp_path: Path) -> None:
    """The two parts are the whole table, each in its order; another seed, other rows."""
    lines = ["row,x", *(f"{n},{n * n % 17}" for n in range(40))]
    path = written(tmp_path, "\n".join(lines))
    parts = [table(path, held_out_fraction=0.25, seed=seed) for seed in (0, 0, 1)]
    chosen = [part.held_out[:, 0] for part in parts]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])
    for part, held_out in zip(parts, chosen, strict=True):
        assert part.held_out.shape == (10, 2)
        assert torch.equal(held_out, held_out.sort().values)
        assert torch.equal(part.values[:, 0], part.values[:, 0].sort().values)
        assert torch.cat([part.values, part.held_out])[:, 0].sort().values.tolist() == list(range(40))


# text of the file -> what is said after "target.data.path=...: "
REFUSED = {
    "": "the file is empty",
    " \n\n": "the file is empty",
    "a,b,c\n": "there are names but no rows below them",
    "1,2,3\n4,5,6\n": "the first line has numbers only: expected the names of the columns there, add such a line",
    "a,b\n1,2\n1,2,3\n": (
        "no table: Expected 2 fields in line 3, saw 3; every line needs as many values as the first one has names, separated "
        "by ','"
    ),
    'a,b\n1,"2\n': (
        "no table: EOF inside string starting at row 1; every line needs as many values as the first one has names, separated "
        "by ','"
    ),
    "a\n1\n2\n": "a single column, a: a graph needs two; see target.data.separator",
    "a;b\n1;2\n": (
        "a single column, a;b: a graph needs two; is there another character between the columns: \"target.data.separator=';'\"?"
    ),
    ",a,b\n0,1,2\n1,2,4\n": (
        "column 1 of 3 has no name in the first line (''): if it counts the rows, drop it (pandas: to_csv(..., index=False); R: "
        "row.names = FALSE), else name it"
    ),
    "Unnamed: 0,a,b\n0,1,2\n1,2,4\n": (
        "column 1 of 3 has no name in the first line ('Unnamed: 0'): if it counts the rows, drop it (pandas: to_csv(..., "
        "index=False); R: row.names = FALSE), else name it"
    ),
    "a,b, a \n1,2,3\n": "a is the name of more than one column: rename or drop all but one",
    "a,b\n1,2\n\n3,low\n": (
        "column b is not numeric: 'low' in line 4; drop the column, or write its categories as whole numbers"
    ),
    'a,b\n1,2\n3,"4,5"\n': (
        "column b is not numeric: '4,5' in line 3; write decimals with a point, or say \"target.data.decimal=','\""
    ),
    "a,b\n1,2\n3,True\n": (
        "column b is not numeric: 'True' in line 3; drop the column, or write its categories as whole numbers"
    ),
    "a,b,c\n1,2,\n3,NA,nan\n4,5,6\n": (
        "missing values: b in 1 of 3 rows, c in 2 of 3 rows (the first in line 2); fill them or drop these rows or columns"
    ),
    "a,b\n1,2\n3\n": "missing values: b in 1 of 2 rows (the first in line 3); fill them or drop these rows or columns",
    "a,b\n1,2\n-inf,3\n": "column a is infinite in line 3: drop the row, or write a number",
    "a,b\n1,2\n1e999,3\n": "column a is infinite in line 3: drop the row, or write a number",
    "# of 2019\na,b\n1,2\n": (
        "the first line is a comment, # of 2019: drop such lines, the first one has the names of the columns"
    ),
    "a,b\n1,2\n# a note\n3,4\n": "column a is not numeric: '# a note' in line 3; drop the lines of comments",
    "a,b\n1,2\n3,na\n4,na\n": (
        "column b is not numeric: 'na' in line 3 (one of 2 such cells); if it means a missing value, say "
        "\"target.data.missing=['na']\""
    ),
    "a,b\n1,2\n3,5%\n": "column b is not numeric: '5%' in line 3; drop the percent signs",
    'a,b\n1,"1,234.5"\n': ("column b is not numeric: '1,234.5' in line 2; is it written with \"target.data.thousands=','\"?"),
    "a,b\n1,1.234.567\n": (
        "column b is not numeric: '1.234.567' in line 2; is it written with \"target.data.decimal=','\" "
        "\"target.data.thousands='.'\"?"
    ),
    "a,b\n1,2 345\n": "column b is not numeric: '2 345' in line 2; is it written with \"target.data.thousands=' '\"?",
    "a,b\n1,2\n3,\u22124\n": "column b is not numeric: '\u22124' in line 3; write the minus sign as -",
    "a,b\n1,9007199254740992\n2,9007199254740993\n3,5\n": (
        "column b has different whole numbers that are one in float64, such as 9007199254740992: subtract what they share, or "
        "drop the column"
    ),
    'a,b\n1,"2"3\n': "a quotation mark within a number, '2\"3' in line 2: every mark stands at an end of a cell",
    "a,b\0\n1,2\n": "this is no text in UTF-8, it has zero bytes: a spreadsheet is saved as 'CSV UTF-8'",
    "a,b\n1,0.1\n2,0.10000000000000002\n3,0.1\n": "column b is constant up to rounding, 0.1 in the 3 rows: drop it",
    "a,b\n1,3\n2,3\n3,3.0\n": "column b is constant, 3 in the 3 rows: drop it",
    "a,b,c\n1,0,1\n2,5,2.0\n3,4,3\n4,7,4\n": "columns a and c are equal in every row: drop one of them",
    "a,b\n0,-0.0\n1,1\n2,2\n": "columns a and b are equal in every row: drop one of them",
    "a,b\n1,3\n2,4\n": "too few rows for 2 columns, the 2 rows: expected 3 or more (columns + 1): add rows or drop columns",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_posterior_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        table(path)
    assert str(caught.value) == f"target.data.path={path}: {REFUSED[text]}"


def test_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is no text in UTF-8: a spreadsheet is saved as 'CSV UTF-8'"):
        table(written(tmp_path, b"PK\x03\x04\xff\xfe"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"target.data.path=.*none.csv: there is no such file; it was looked for at /.*csv"):
        table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="this is a folder: expected a file"):
        table(tmp_path)
    with pytest.raises(ConfigError, match="this is a folder: expected a file"):
        table("")


def test_a_file_that_changed_since_its_digest_was_taken(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    digest = hashlib.sha256(GOOD.encode()).hexdigest()[:16]
    assert table(path, digest=digest).names == ("a", "b", "c")
    path.write_text(GOOD.replace("8", "9"))
    with pytest.raises(ConfigError, match=f"the file has changed: its digest was {digest} and now is [0-9a-f]{{16}};"):
        table(path, digest=digest)


def test_what_the_split_makes_of_a_table_is_refused(tmp_path: Path) -> None:
    """Constant, or too short, in the rows that the score sees."""
    rare = "\n".join(["x,rare", *(f"{n},{int(n == 7)}" for n in range(10))])
    path = written(tmp_path, rare)
    seed = next(s for s in range(1000) if 7.0 in _held_out_rows(s))
    said = r"column rare is constant, 0 in the 8 rows of 10, without those of target.data.held_out_fraction=0.2: drop it"
    with pytest.raises(ConfigError, match=said):
        table(path, held_out_fraction=0.2, seed=seed)
    said = r"too few rows for 2 columns, the 2 rows of 10, without those of target.data.held_out_fraction=0.8: expected 3 or more"
    with pytest.raises(ConfigError, match=said):
        table(path, held_out_fraction=0.8)
    with pytest.raises(ConfigError, match=r"held_out_fraction=0.01: this is none of the 10 rows; raise it, or set it to 0"):
        table(path, held_out_fraction=0.01)


def _held_out_rows(seed: int) -> list[float]:
    """Of ten rows, two."""
    chosen = csv_table("x", held_out_fraction=0.2, seed=seed)._held_out(10)
    return chosen.nonzero().squeeze(1).double().tolist()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"separator": ", "}, r"target.data.separator=, : expected one character such as ',' or ';', or '\\t' for tabs"),
        ({"separator": '"'}, r"target.data.separator=\": expected one character"),
        ({"separator": ""}, r"target.data.separator=: expected one character"),
        ({"held_out_fraction": 1.0}, r"target.data.held_out_fraction=1.0: expected a number from 0 to below 1"),
        ({"held_out_fraction": -0.1}, r"target.data.held_out_fraction=-0.1: expected a number from 0 to below 1"),
        ({"seed": -1}, r"target.data.seed=-1: expected a whole number >= 0"),
    ],
)
def test_other_keys(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        table("x.csv", **arguments)


def test_standardized_columns_have_mean_0_and_variance_1_over_the_training_rows(tmp_path: Path) -> None:
    """Held-out rows are moved and scaled by the same numbers, so all rows are one affine function of the file's."""
    values = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1e-4]) + 7
    path = written(tmp_path, "\n".join(["x,y", *(f"{a!r},{b!r}" for a, b in values.tolist())]))
    raw, scaled = (table(path, standardize=standardize, held_out_fraction=0.2) for standardize in (False, True))
    torch.testing.assert_close(scaled.values.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(scaled.values.square().mean(0), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-10)
    slope = (raw.values[1] - raw.values[0]) / (scaled.values[1] - scaled.values[0])
    restored = raw.values[0] + slope * (scaled.held_out - scaled.values[0])
    torch.testing.assert_close(restored, raw.held_out, rtol=1e-10, atol=0)


FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "English": ('a;b\n"1,234.5";2\n-12,000;3.25\n1,000,000.125;7\n12;0\n', {"thousands": ","}),
    "German": ("a;b\n1.234,5;2\n-12.000;3,25\n1.000.000,125;7\n12;0\n", {"decimal": ",", "thousands": "."}),
    "French": ("a;b\n1\u202f234,5;2\n-12 000;3,25\n1\xa0000\xa0000,125;7\n12;0\n", {"decimal": ",", "thousands": " "}),
    "Swiss": ("a;b\n1'234.5;2\n-12'000;3.25\n1'000'000.125;7\n12;0\n", {"thousands": "'"}),
    "without thousands": ("a;b\n1234,5;2\n-12000;3,25\n1000000,125;7\n12;0\n", {"decimal": ","}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_in_the_format_of_a_country(name: str, tmp_path: Path) -> None:
    text, arguments = FORMATS[name]
    found = table(written(tmp_path, text), ";", **arguments)
    assert found.values.tolist() == [[1234.5, 2], [-12000, 3.25], [1000000.125, 7], [12, 0]]


@pytest.mark.parametrize(
    ("cell", "arguments", "said"),
    [
        ("1,23", {"thousands": ","}, "decimal=. and target.data.thousands=,"),  # pandas reads 123
        ("12,34,567", {"thousands": ","}, "decimal=. and target.data.thousands=,"),
        ("1.5", {"decimal": ",", "thousands": "."}, "decimal=, and target.data.thousands=."),  # pandas reads 15
        ("1.5", {"decimal": ","}, "decimal=, and target.data.thousands=null"),
    ],
)
def test_cells_that_another_format_wrote_are_refused(cell: str, arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        table(written(tmp_path, f"a;b\n1;{cell}\n2;3\n"), ";", **arguments)
    assert f"column b is not numeric: {cell!r} in line 2; this is no number with target.data.{said}" in str(caught.value)


@pytest.mark.parametrize("missing", [[-999], ["-999", "unknown"], ("-999.0",), [-999.0]])
def test_markers_of_missing_values_are_refused_with_count_and_line(missing: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,2\n-999,3\n4,5\n-999.00,6\n")
    with pytest.raises(ConfigError) as caught:
        table(path, missing=missing)
    said = f"missing values: a in 2 of 4 rows (the first in line 3, with target.data.missing={list(missing)}); fill them"
    assert said in str(caught.value)


def test_texts_that_mean_a_missing_value_are_refused_with_count_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        table(written(tmp_path, "a,b\n1,? \n2,3\nunclear ,5\n4,?\n"), missing=["?", "unclear"])
    said = "missing values: a in 1 of 4 rows, b in 2 of 4 rows (the first in line 2, with target.data.missing=['?', 'unclear']); "
    assert said in str(caught.value)


def test_columns_are_those_named_in_that_order(tmp_path: Path) -> None:
    """The others may be without a name, texts or empty."""
    path = written(tmp_path, ",a,day,b,c\n1,1,Mon,2,3\n2,2,,-1.5,1e-3\n3,4,Tue,0,7\n4,5,,6,8\n")
    found = table(path, columns=["c", "a"])
    assert found.names == ("c", "a")
    assert found.values.tolist() == [[3, 1], [1e-3, 2], [7, 4], [8, 5]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"columns": ["a"]}, r"target.data.columns=\['a'\]: expected two or more, a graph needs two, or null for all"),
        ({"columns": ["a", "z"]}, r"target.data.columns=z: expected a name of one column of .*, once: they are a, b, c"),
        ({"columns": ["a", "a"]}, r"target.data.columns=a: expected a name of one column of .*, once: they are a, b, c"),
        ({"decimal": ";"}, r"target.data.decimal=;: expected '.' or ','"),
        (
            {"thousands": "."},
            r"target.data.thousands=.: expected null, or one of '.' ',' ' ' \"'\" that is not target.data.decimal",
        ),
        ({"thousands": "x"}, r"target.data.thousands=x: expected null, or one of"),
        ({"missing": -999}, r"target.data.missing=-999: expected a list of texts and numbers such as \[-999,unknown\]"),
        ({"missing": [True]}, r"target.data.missing=\[True\]: expected a list"),
    ],
)
def test_formats_and_columns_that_are_none(arguments: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        table(written(tmp_path, GOOD), **arguments)


def test_a_damaged_packed_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a damaged file of gzip: pack it again"):
        table(written(tmp_path, gzip.compress(GOOD.encode())[:-9]))
