"""What to do about a cell of a CSV file that is not read as a number: the key that says how it is meant, ready to be typed."""

from __future__ import annotations

import re

COMMA = "\"target.data.decimal=','\""
OTHERWISE = "drop the column, or write its categories as whole numbers"
# Spellings of a missing value that pandas does not know.
MISSING = r"(?i)n[/.]?a\.?|nan|null|none|missing|unknown|[-.?*]+"
# The first that fits the whole cell is said.
BY_PATTERN = (
    (r"[-+]?\d{1,3}(\.\d{3})+,\d*|[-+]?\d{1,3}(\.\d{3}){2,}", f"is it written with {COMMA} \"target.data.thousands='.'\"?"),
    (r"[-+]?\d{1,3}(,\d{3})+\.\d*|[-+]?\d{1,3}(,\d{3}){2,}", "is it written with \"target.data.thousands=','\"?"),
    (r"[-+]?\d{1,3},\d{3}", f"is it written with {COMMA}, or with \"target.data.thousands=','\"?"),
    (r"[-+]?\d+,\d+([eE][-+]?\d+)?", f"write decimals with a point, or say {COMMA}"),
    (r"[-+]?\d{1,3}([ \xa0\u202f]\d{3})+([.,]\d*)?", "is it written with \"target.data.thousands=' '\"?"),
    (r"[-+]?\d{1,3}('\d{3})+([.,]\d*)?", 'is it written with "target.data.thousands=\\"\'\\""?'),
    (MISSING, "if it means a missing value, say \"target.data.missing=['{cell}']\""),
    (r"[\u2010-\u2015\u2212][\d.,]+", "write the minus sign as -"),
    (r"#.*", "drop the lines of comments"),
    (r"[-+]?[\d.,]+ ?%", "drop the percent signs"),
)


def advice(cell: str, decimal: str, thousands: str | None) -> str:
    """Return what to do about a cell that is no number in the format of target.data.decimal and target.data.thousands."""
    cell = cell.strip()
    if (decimal, thousands) != (".", None) and re.fullmatch(r"[-+]?\d[\d.,' \xa0\u202f]*", cell):
        between = "null" if thousands is None else thousands
        return f"this is no number with target.data.decimal={decimal} and target.data.thousands={between}"
    return next((said for pattern, said in BY_PATTERN if re.fullmatch(pattern, cell)), OTHERWISE).replace("{cell}", cell)
