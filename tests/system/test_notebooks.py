"""The notebooks of docs/: they run as a reader runs them, with fewer trajectories, and are committed with their outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from system.command import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
# Trajectories of each seed in the text -> here.
FEWER = {"n_trajectories=16000": "n_trajectories=1280", "n_trajectories=38400": "n_trajectories=1280"}
LARGEST_FILE = 150_000  # bytes, pictures inside

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def kinds(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what the notebook shows, in order: the names of streams and the best form of each value."""
    forms = ("image/png", "text/html", "text/plain")
    shown = [output for output in outputs(notebook) if output["output_type"] != "stream"]
    return [next(form for form in forms if form in output["data"]) for output in shown]


def test_there_are_two() -> None:
    assert len(NOTEBOOKS) == 2


@each_notebook
def test_it_is_committed_as_it_ran(path: Path) -> None:
    """All cells once, from top to bottom, without an error; small, and nothing of the machine that ran it."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(notebook) if output["output_type"] == "error"]
    assert "image/png" in kinds(notebook)
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST_FILE
    assert str(Path.home()) not in text
    assert "Traceback" not in text


@pytest.mark.slow
@each_notebook
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, in a kernel of its own, and it shows values and pictures in the same places as the committed one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nothing of the user's own start-up files
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
    committed, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    before = [cell.source for cell in notebook.cells]
    for cell in notebook.cells:
        for words, fewer in FEWER.items():
            cell.source = cell.source.replace(words, fewer)
    assert [cell.source for cell in notebook.cells] != before
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert kinds(notebook) == kinds(committed)
