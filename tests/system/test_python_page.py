"""docs/python.md and the first screen of the README: their Python runs, with a tenth of the trajectories."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def blocks(name: str) -> list[str]:
    found = re.findall(r"```python\n(import gfn_vi\n.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    if name == "README.md":
        return found[:1]
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("name", "n_blocks"), [("docs/python.md", 7), ("README.md", 1)])
def test_the_page_runs(name: str, n_blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(name)
    assert len(found) == n_blocks
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block.replace("6400", "640"), name, "exec"), names)
    assert names["run"].state == "done"
