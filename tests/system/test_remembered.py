"""A finished run is not composed again, unless anything that composing depends on has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from gfn_vi.runs.directory import RunDirectory, run_directory
from gfn_vi.runs.manifest import plan, refuse
from gfn_vi.sweeps.jobs import Job, jobs_of, parsed
from gfn_vi.sweeps.remembered import Remembered
from system.command import SMALL, train

YAML = "value: ${oc.env:REMEMBERED_VALUE,none}\nlength: ${digest:${path}}\n"


class Sweep:
    """A folder with configurations, data and one finished run of the overrides `a=1`, and what a sweep's own config says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.yaml, self.data = folder, folder / "conf" / "group" / "x.yaml", folder / "data.csv"
        self.yaml.parent.mkdir(parents=True)
        self.yaml.write_text(YAML)
        self.data.write_text("1,2\n")
        self.hydra: list[str] = []
        self.arguments = ["a=1"]
        config = {"output_root": str(folder / "conf/outputs"), "experiment_name": "e", "rate": 1e-5, "none": None, "text": "1e-3"}
        self.job = Job(("a=1",), run_directory(config), config)
        with RunDirectory(self.job.directory) as run:
            run.write_config(OmegaConf.to_yaml(OmegaConf.create(config)))
            run.write_status("done", 1)

    def config(self) -> DictConfig:
        source = {"path": str(self.folder / "conf"), "schema": "file", "provider": "main"}
        package = {"path": "gfn_vi.configs", "schema": "pkg", "provider": "package"}
        hydra = {
            "runtime": {"config_sources": [source, package]},
            "overrides": {"hydra": self.hydra},
            "job": {"config_name": "train"},
        }
        return OmegaConf.create({key: self.job.config[key] for key in ("output_root", "experiment_name")} | {"hydra": hydra})

    def remembered(self) -> Remembered:
        return Remembered(self.config(), self.arguments)

    def compose(self) -> None:
        """What a sweep does at its beginning: compose, which asks, and plan."""
        remembered = self.remembered()
        with remembered.noting():
            resolved = OmegaConf.create(YAML + f"path: {self.data}\n")
            OmegaConf.resolve(resolved)
        plan([self.job], remembered.composing())


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep(tmp_path)
    made.compose()
    return made


def test_a_finished_run_is_known_by_its_overrides(sweep: Sweep) -> None:
    """Without a loader nothing can be composed."""
    found = sweep.remembered().job(("a=1",))
    assert found == sweep.job
    assert found is not None
    assert found.config == sweep.job.config
    assert jobs_of(None, sweep.config(), [parsed(None, ["a=1"])], sweep.remembered().job) == [sweep.job]  # type: ignore[arg-type]
    assert sweep.remembered().job(("a=2",)) is None
    manifest = json.loads((sweep.job.directory.parent / "sweep.json").read_text())
    assert [question for asked in manifest["asked"].values() for question in asked] == [
        *(f'["digest", "{sweep.data}"]', '["oc.env", "REMEMBERED_VALUE", "none"]'),
    ], "questions are told, answers are nobody's business"


CHANGES: dict[str, Callable[[Sweep, pytest.MonkeyPatch], object]] = {
    "a YAML": lambda sweep, _: sweep.yaml.write_text(f"{YAML}more: 1\n"),
    "one more YAML": lambda sweep, _: sweep.yaml.with_name("y.yaml").touch(),
    "a YAML of another name": lambda sweep, _: sweep.yaml.rename(sweep.yaml.with_name("y.yaml")),
    "a variable": lambda _, patch: patch.setenv("REMEMBERED_VALUE", "x"),
    "data": lambda sweep, _: sweep.data.write_text("1,3\n"),
    "no data": lambda sweep, _: sweep.data.unlink(),
    "the version": lambda _, patch: patch.setattr("gfn_vi.sweeps.remembered.VERSION", "0"),
    "an override of Hydra": lambda sweep, _: sweep.hydra.append("hydra.job.name=x"),
    "the run's configuration": lambda sweep, _: (sweep.job.directory / "config.yaml").write_text("seed: 1\n"),
    "no configuration": lambda sweep, _: (sweep.job.directory / "config.yaml").unlink(),
    "an unfinished run": lambda sweep, _: (sweep.job.directory / "status.json").unlink(),
    "no manifest": lambda sweep, _: (sweep.job.directory.parent / "sweep.json").unlink(),
    "a refusal": lambda sweep, _: refuse([(sweep.job, "no")]),
    "a resolver that nobody knows": lambda sweep, _: sweep.arguments.append("+b=${now:%H}"),
    "a resolver whose name is put together": lambda sweep, _: sweep.arguments.append("+b=${${c}:x}"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_whatever_composing_depends_on_leads_to_composing(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    CHANGES[change](sweep, monkeypatch)
    assert sweep.remembered().job(("a=1",)) is None


MEANWHILE: dict[str, Callable[[Sweep], object]] = {
    "a YAML": lambda sweep: sweep.yaml.write_text(f"{YAML}more: 1\n"),
    "data": lambda sweep: sweep.data.write_text("1,3\n"),
}


@pytest.mark.parametrize("what", list(MEANWHILE))
def test_what_changes_while_jobs_are_composed_is_not_remembered(sweep: Sweep, what: str) -> None:
    """Nobody knows which jobs were composed of what."""
    remembered = sweep.remembered()
    with remembered.noting():
        MEANWHILE[what](sweep)
        OmegaConf.resolve(OmegaConf.create(YAML + f"path: {sweep.data}\n"))
    assert remembered.composing() is None


def test_what_has_nothing_to_do_with_it_is_left_aside(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another variable, files that are no configurations, other runs of the same folder, other overrides."""
    monkeypatch.setenv("REMEMBERED_OTHER", "x")
    (sweep.folder / "conf" / "notes.txt").touch()
    (sweep.job.directory.parent / "another.yaml").touch()
    sweep.arguments.append("b=1,2")
    assert sweep.remembered().job(("a=1",)) == sweep.job


def test_a_sweep_never_answers_from_what_has_changed(tmp_path: Path) -> None:
    """The same command under another variable, or with a changed file, is another run; back again, the first one."""
    (tmp_path / "conf/arm").mkdir(parents=True)
    arm = tmp_path / "conf/arm/mine.yaml"
    arm.write_text("# @package _global_\narm_name: mine\nsampler: {hidden: ['${oc.decode:${oc.env:MY_WIDTH}}']}\n")
    small = [word for word in SMALL if not word.startswith("sampler.hidden")]
    sweep = ["--config-dir", "conf", "-m", *small, "trainer.n_trajectories=16", "arm=mine", "seed=0,1"]
    counts = []
    for width, rate in ((8, 1), (8, 1), (16, 1), (16, 2), (8, 1)):
        text = arm.read_text().partition("optimizer")[0]
        arm.write_text(text + (f"optimizer: {{lr_log_Z: {rate}}}\n" if rate != 1 else ""))
        outcome = train(sweep, tmp_path, {"MY_WIDTH": str(width)})
        assert outcome.code == 0, outcome.err
        counts.append(outcome.out.count("trajectories in"))
    assert counts == [2, 0, 2, 2, 0]
