"""Time the collection of a sweep's runs into its table: files on disk in, table.parquet and table.csv out."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmark.cases import Job
from gfn_vi.analysis.reading.table import collect, write_table
from gfn_vi.run import run
from gfn_vi.runs.directory import run_directory

EVALUATIONS = 10  # after the first, which is before training
RATES = 100  # different learning rates among the runs; seeds are the rest


def time_collection(job: Job) -> dict[str, Any]:
    """Time the collection of `job.runs` runs, and say how large their table is."""
    with tempfile.TemporaryDirectory() as root:
        folder = make_runs(Path(root), job)
        start, busy = time.perf_counter(), time.process_time()
        table = collect(folder, say=lambda _: None)
        collected = time.perf_counter()
        parquet, csv = (path.stat().st_size / 1e6 for path in write_table(table, folder))
        written, busy = time.perf_counter(), time.process_time() - busy
    what = (
        f"{job.runs:,} runs, {len(table):,} rows, {len(table.columns)} columns: read in {collected - start:.1f} s, "
        f"written in {written - collected:.1f} s, {busy:.1f} s of it computing; "
        f"table.parquet {parquet:.1f} MB, table.csv {csv:.0f} MB"
    )
    return {"block_ms": [(written - start) * 1e3], "runs": job.runs, "rows": len(table), "what": what}


def make_runs(root: Path, job: Job) -> Path:
    """Run one small run, copy its files with other seeds and rates; return the folder that holds the `job.runs` copies."""
    batch = job.case.batch
    small = (f"trainer.n_trajectories={EVALUATIONS * batch}", f"evaluation.every={batch}", f"output_root={root}/first")
    config = job.config(*small)
    with contextlib.redirect_stdout(io.StringIO()):
        run(config)
    first = run_directory(OmegaConf.to_container(config))  # type: ignore[arg-type]
    config.seed, config.optimizer.lr_forward = "<seed>", "<rate>"
    template = OmegaConf.to_yaml(config)
    for number in range(job.runs):
        copy = root / "runs" / f"run-{number:08x}"
        copy.mkdir(parents=True)
        seed, rate = number // RATES * job.replicas, (1 + number % RATES) * 1e-4
        (copy / "config.yaml").write_text(
            template.replace("<seed>", str(seed)).replace("<rate>", f"{rate:.4f}"), encoding="utf-8"
        )
        for name in ("status.json", "metrics.csv"):
            shutil.copyfile(first / name, copy / name)
    return root / "runs"
