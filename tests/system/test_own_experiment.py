"""docs/experiments.md: its files and commands, in the order of the page, in an empty folder."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "experiments.md").read_text()
FILES = dict(re.findall(r"\n`([\w/.]+)`\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    shlex.split(line, comments=True) for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a console command of the package from this checkout."""
    module = f"gfn_vi.commands.{words[0].removeprefix('gfn-vi-').replace('-', '_')}"
    code = f"import sys; sys.argv[0] = {words[0]!r}; from {module} import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-c", code, *words[1:]]
    return subprocess.run(python, check=False, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_page_has_files_and_commands() -> None:
    assert list(FILES) == [
        "my_configs/experiment/batch_sizes.yaml",
        "experiments/batch_sizes/figure.py",
        "experiments/batch_sizes/claims.py",
    ]
    assert [words[0] for words in COMMANDS] == [
        *("gfn-vi-train", "gfn-vi-status", "gfn-vi-plot", "gfn-vi-plot", "gfn-vi-reproduce", "gfn-vi-figure", "gfn-vi-figure"),
    ]


@pytest.mark.slow
def test_the_page_works(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    said = ""
    for words in COMMANDS:
        done = run(words, tmp_path)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        said += done.stdout
    assert "4 runs: 4 done" in said
    assert "the same to the pixel as experiments/batch_sizes/results/figure.png" in said
    claims = list(csv.DictReader((tmp_path / "experiments/batch_sizes/results/claims.csv").read_text().splitlines()))
    assert [row["agrees"] for row in claims] == ["yes", "yes"]
    assert len(list((tmp_path / "outputs/batch_sizes/plots").glob("*.pdf"))) == 2
    assert (tmp_path / "outputs/batch_sizes/report.html").is_file()
