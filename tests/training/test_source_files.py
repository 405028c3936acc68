"""Which files of a user's code a configuration depends on, found without running them, and what counts as a change."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.core.user_files import digest
from gfn_vi.runs.directory import RunDirectory, identity_digest
from gfn_vi.runs.references import ReferenceFile
from gfn_vi.runs.source_files import code_named_by, digest_now
from gfn_vi.runs.sources import doubt_about_table, require_unchanged, settle_changes, sources_of

# Nothing of it is run: every file would raise.
FILES = {
    "my_targets.py": "import torch, gfn_vi\nfrom my_package.rewards import R\nimport my_loose.inner.part\nraise RuntimeError\n",
    "my_package/__init__.py": "raise RuntimeError\n",
    "my_package/rewards.py": "def f():\n    from . import lazy\n    from .deep.below import g\nraise RuntimeError\n",
    "my_package/lazy.py": "from ..outside import nothing\n",
    "my_package/deep/__init__.py": "from my_package import rewards\n",
    "my_package/deep/below.py": "def f(name):\n    import_module(name)\n    importlib.import_module('shared_tables')\n",
    "my_package/unused.py": "",
    "my_loose/inner/part.py": "x = (\n",
    "my_unused.py": "",
}
NAMES = {*FILES, "shared_tables.py"} - {"my_package/unused.py", "my_unused.py"}
CONFIG: dict[str, Any] = {
    "target": {"_target_": "my_targets.Target", "reward": [{"_target_": "gfn_vi.targets.grids.rewards.CornersReward"}]},
    "logger": {"_target_": "my_unused.Logger"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, and another one on PYTHONPATH, in which one of the modules is a link."""
    for name, text in FILES.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    (tmp_path / "real.py").write_text("x = 1\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "shared_tables.py").symlink_to(tmp_path / "real.py")
    for name in ("mine", "shared"):
        monkeypatch.syspath_prepend(tmp_path / name)
    return tmp_path / "mine"


def test_a_file_counts_where_it_is_imported_from_another_that_counts(folder: Path) -> None:
    """At the top, in a function, relatively, through a package without __init__.py, by a link, and in a circle."""
    found = sources_of(CONFIG)
    assert set(found) == NAMES
    assert found["my_loose/inner/part.py"] == digest(b"x = (\n")
    assert found["shared_tables.py"] == digest(b"x = 1\n")
    assert "my_targets" not in sys.modules
    assert {name: digest_now(name) for name in found} == found


def test_a_folder_that_moved_has_the_same_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sources_of(CONFIG)
    shutil.move(folder, folder.with_name("moved"))
    assert sources_of(CONFIG) == {}
    monkeypatch.setattr(sys, "path", [str(folder.with_name("moved")), *sys.path])
    assert sources_of(CONFIG) == before


def test_code_is_named_by_some_keys_and_a_class_of_a_program_has_no_file() -> None:
    method = {"_target_": "hydra.utils.get_method", "path": "a.f"}
    config = {"target": {"function": "b.g", "path": "c.csv", "proxies": [[method]]}, "objective": {"_target_": "__main__.D"}}
    assert code_named_by(config | {"checkpoint": {"_target_": "e.E"}}) == {"hydra.utils.get_method", "a.f", "b.g", "__main__.D"}
    assert sources_of({"x": {"_target_": "__main__.D"}}, {"x": {"_target_": "collections.abc.Mapping"}}) == {}
    assert sources_of({"x": {"_target_": "numpy.random.Generator"}}, {"x": {"_target_": ""}}, {"x": {"_target_": "a b.c"}}) == {}


@pytest.mark.usefixtures("folder")
def test_a_module_that_was_imported_is_compared_with_its_file(folder: Path) -> None:
    """What this process has imported does not matter: the file may have changed, or be gone, since."""
    (folder / "my_imported.py").write_text("x = 1\n")
    importlib.invalidate_caches()
    before = sources_of({"target": {"function": "my_imported.x"}})
    importlib.import_module("my_imported")
    require_unchanged(before, "then")
    (folder / "my_imported.py").write_text("x = 22\n")
    with pytest.raises(RunError, match=r"^my_imported.py has changed since then: the same command says what can be done$"):
        require_unchanged(before, "then")
    (folder / "my_imported.py").unlink()
    with pytest.raises(RunError, match=r"^my_imported.py cannot be found any more, as it could since then"):
        require_unchanged(before, "then")
    del sys.modules["my_imported"]


def test_reference_samples_of_a_changed_density_are_other_samples(folder: Path, tmp_path: Path) -> None:
    """Those of a target of gfn_vi keep their name."""
    asked = {"output_root": str(tmp_path), "evaluation": {"references": None}}
    paths = [ReferenceFile(asked | {"target": CONFIG["target"]}).path]
    (folder / "my_package" / "rewards.py").write_text("x = 2\n")
    paths.append(ReferenceFile(asked | {"target": CONFIG["target"]}).path)
    assert paths[0] != paths[1]
    ours = {"_target_": "gfn_vi.targets.densities.funnel.Funnel"}
    path = ReferenceFile(asked | {"target": ours}).path
    assert path.stem == f"Funnel-{identity_digest({'target': ours, 'references': None})}"


def run_of(path: Path, state: Any, step: int, sources: dict[str, str]) -> Path:
    with RunDirectory(path) as run:
        run.set_sources(sources)
        run.write_status(state, step)
    return path


@pytest.mark.parametrize(
    ("state", "step", "is_refused"), [("done", 3, True), ("interrupted", 3, True), ("failed", 3, True), ("failed", 0, False)]
)
def test_work_of_another_source_is_refused_or_accepted_and_noted(
    state: str, step: int, is_refused: bool, folder: Path, tmp_path: Path
) -> None:
    """What was accepted once is no change the next time; the facts of the process that trained stay."""
    path = run_of(tmp_path / "run", state, step, sources_of(CONFIG))
    settle_changes([path], accepts=False)
    before = RunDirectory(path).status()
    (folder / "my_package" / "lazy.py").write_text("y = 2\n")
    if not is_refused:
        settle_changes([path], accepts=False)
        return
    expected = rf"^my_package/lazy.py has changed since {path} was trained \(3 updates\): restore it; delete the run's folder"
    with pytest.raises(RunError, match=expected) as caught:
        settle_changes([path], accepts=False)
    assert "\n" not in str(caught.value)
    assert "checkpoint.accept_changed_sources=true" in str(caught.value)
    settle_changes([path], accepts=True)
    status = RunDirectory(path).status()
    assert before is not None
    assert status is not None
    old = {"my_package/lazy.py": before["sources"]["my_package/lazy.py"]}
    assert status == before | {
        "sources": before["sources"] | {"my_package/lazy.py": digest(b"y = 2\n")},
        "accepted_sources": [{"until_step": 3, "sources": old}],
    }
    settle_changes([path], accepts=False)
    with RunDirectory(path) as run:  # another process goes on
        run.write_status("running", 4)
    again = RunDirectory(path).status()
    assert again is not None
    assert (again["sources"], again["accepted_sources"]) == (status["sources"], status["accepted_sources"])


def test_several_runs_are_one_line_and_a_run_that_says_nothing_is_left_alone(folder: Path, tmp_path: Path) -> None:
    sources = sources_of(CONFIG)
    paths = [run_of(tmp_path / "out" / f"run{n}", "done", 3, sources) for n in range(5)]
    silent = run_of(tmp_path / "out" / "silent", "done", 3, {})
    (folder / "my_targets.py").unlink()
    with pytest.raises(
        RunError, match=r"^my_targets.py cannot be found any more, as it could since 5 of 7 runs were trained"
    ) as caught:
        settle_changes([*paths, silent, tmp_path / "missing"], accepts=False)
    assert f"({paths[0]}, {paths[1]}, {paths[2]} and 2 more): start from the folder that holds it" in str(caught.value)
    with pytest.raises(ConfigError, match=r"^checkpoint.accept_changed_sources=1: expected true or false"):
        settle_changes(paths, accepts=1)  # type: ignore[arg-type]


@pytest.mark.usefixtures("folder")
def test_other_runs_of_the_folder_with_another_version_are_named(tmp_path: Path) -> None:
    """Those that learned nothing and those of other files do not count."""
    now, old = sources_of(CONFIG), sources_of(CONFIG) | {"my_targets.py": "0"}
    run_of(tmp_path / "out" / "new", "done", 3, now)
    run_of(tmp_path / "out" / "empty", "failed", 0, old)
    run_of(tmp_path / "out" / "elsewhere", "done", 3, {"my_objectives.py": "0"})
    assert doubt_about_table(tmp_path / "out", now) is None
    assert doubt_about_table(tmp_path / "nowhere", now) is None
    other = run_of(tmp_path / "out" / "other", "done", 3, old)
    told = doubt_about_table(tmp_path / "out", now)
    assert told is not None
    assert told.startswith(f"{tmp_path / 'out'} has runs of another my_targets.py ({other}): no figure shows both")
