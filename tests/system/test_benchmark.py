"""scripts/benchmark.py: what it reports and refuses. No test here asserts a time."""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from benchmark.cases import DAG_CASES, DAG_NETWORKS, DENSITY_LOSSES, GOALS, MEASUREMENTS, Job, UsageError, case_of, parse_cases
from benchmark.collecting import make_runs, time_collection
from benchmark.command import plan
from benchmark.machine import DISTURBING_CORES, Others, lacks_memory, only_free_memory
from benchmark.measure import PHASES, Stopwatch, distinct_counts, distinct_states, known_log_rewards, look_closely, phases_timed
from benchmark.report import compared, comparison_lines, result_lines, summarized
from benchmark.runner import PEERS, ensure_installed, peers_of, run_process, write_table
from gfn_vi.analysis.reading.table import collect
from gfn_vi.build import build_trainer
from gfn_vi.core.types import Trajectories

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "benchmark.py"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Standard output and JSON of a tiny run."""
    file = tmp_path_factory.mktemp("benchmark") / "report.json"
    done = benchmark("case=2x8x64,dag3x8-mlp,exact", "replicas=1,2", "updates=2", "warmup=1", "threads=1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_every_case_and_number_of_replicas_is_reported(report: tuple[str, dict[str, Any]]) -> None:
    text, found = report
    cases = ("2x8x64", "dag3x8-mlp", "exact")
    assert [(r["case"], r["replicas"]) for r in found["results"]] == [(case, n) for case in cases for n in (1, 2)]
    for words in ("ms/update", "ms/measurement", "states/s", "rewards/s", "phases (ms)", "peak memory", "distinct"):
        assert words in text
    assert found["settings"]["dag"]["rows"] == 100
    assert {"processor", "cores"} <= set(found["machine"])


def test_figures_of_a_training_case_fit_together(report: tuple[str, dict[str, Any]]) -> None:
    batch = {"2x8x64": 64, "dag3x8-mlp": 8}
    longest = {"2x8x64": 15, "dag3x8-mlp": 4}  # 2 x 7 moves or 3 edges, and the stop
    square = 2 * 256 * 256
    # P_F to sample; P_F, and P_B of the grid, with gradients; the DAG has 9 entries and 10 actions
    grid = (512 + square + 512 * 3) + (2 * 512 + 3 * (square + 512 * 3)) + (2 * 512 + 3 * (square + 512 * 2))
    per_state = {"2x8x64": grid, "dag3x8-mlp": 3 * 512 * 9 + 4 * (square + 512 * 10)}
    for r in report[1]["results"][:4]:
        assert len(r["block_ms"]) == 2
        assert r["ms_range"] == [min(r["block_ms"]), max(r["block_ms"])]
        assert r["ms_per_replica"] == pytest.approx(r["ms"] / r["replicas"])
        assert 1 < r["mean_length"] <= longest[r["case"]]
        assert r["trajectories_per_second"] == pytest.approx(1e3 / r["ms"] * batch[r["case"]] * r["replicas"])
        assert r["rewards_per_second"] == pytest.approx(r["trajectories_per_second"])  # one reward each, on-policy
        assert r["states_per_second"] == pytest.approx(r["trajectories_per_second"] * r["mean_length"])
        assert set(r["phases_ms"]) == set(PHASES)
        assert all(r["phases_ms"][name] > 0 for name in PHASES)
        if r["case"] == "2x8x64":
            assert 1 / 64 <= r["distinct_share"] <= 64 / (64 * 2)  # at most the 64 states of the grid
        else:
            assert 0 < r["distinct_share"] <= 25 / 8  # at most the 25 graphs on 3 nodes
        assert r["times_bound"] == pytest.approx(r["ms"] / r["bound_ms"])
        assert r["bound_ms"] == pytest.approx(r["gflop_per_update"] / r["gflop_per_second"] * 1e3)
        assert r["gflop_per_update"] == pytest.approx(r["distinct_states"] * per_state[r["case"]] / 1e9)
        assert len(r["log_Z"]) == r["replicas"]
        assert 50 < r["peak_memory_mb"] < 2000
        assert r["busy_cores_during"] is None or r["busy_cores_during"] >= 0


def test_exact_evaluation_is_a_real_one(report: tuple[str, dict[str, Any]]) -> None:
    for r in report[1]["results"][4:]:
        assert 0 < r["jsd"] < math.log(2)
        assert r["first_ms"] > 0
        assert "mean_length" not in r


def test_help_says_the_keys_and_loads_no_torch() -> None:
    check = "import sys; from benchmark.command import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT / "scripts", capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False"
    for word in ("case=all", "replicas=1,8", "updates=", "threads=2", "device=cpu", "--peers", "--json", "dag<nodes>x<batch>"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["case=2x8"],
            "case=2x8: expected all, dag, density, molecules, exact, exact_gradients, gradient_statistics, collect, <dims>x<si",
        ),
        (["case=dag5x64"], "case=dag5x64: expected all, dag, density, molecules, exact"),
        (["case=dag5x64-gnn"], "dag<nodes>x<batch>-mlp|transformer, gmm25|many_well"),
        (["case=dag1x64-mlp"], "case=dag1x64-mlp: expected at least 2 nodes and batch 1"),
        (["case=gmm25-0x300-tb"], "case=gmm25-0x300-tb: expected at least 1 step and batch 1"),
        (["case=gmm25-100x300-db"], "gmm25|many_well-<steps>x<batch>-tb|pathwise|sticking_the_landing"),
        (["case=molecules4-mlp"], "-tb|pathwise|sticking_the_landing or molecules<batch>-attention|mpnn"),
        (["case=molecules0-mpnn"], "case=molecules0-mpnn: expected at least batch 1"),
        (["case=2x1x64"], "case=2x1x64: expected at least 1 dimension, side 2 and batch 1"),
        (["updates=0"], "updates=0: expected a whole number >= 1"),
        (["replicas=1,x"], "replicas=x: expected a whole number >= 1"),
        (["update=5"], "update=5: expected key=value with a key of case, replicas"),
        (["device=cuda", "--peers"], "device=cuda: the peers are compared on the CPU"),
        (["device=gpu", "case=2x8x64"], "device=gpu: expected cpu, cuda or cuda:N"),
        (["--json", "/nonexistent/report.json"], "there is no folder /nonexistent"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr or message in done.stderr
    assert "Traceback" not in done.stderr


def test_cases() -> None:
    assert [case.name for case in parse_cases("all")] == [*GOALS, *(name for name in MEASUREMENTS if name != "collect")]
    assert [(case.kind, case.batch, case.size) for case in parse_cases("3x20x16,exact,dag7x32-transformer,exact")] == [
        ("hypergrid", 16, {"dims": 3, "side": 20}),
        ("exact", 64, {"dims": 2, "side": 128}),
        ("dag", 32, {"n_nodes": 7, "sampler": "transformer"}),
    ]
    assert [case.name for case in parse_cases("dag")] == [
        f"dag{d}x{batch}-{sampler}" for d in (5, 10, 20) for batch in (64, 256) for sampler in ("mlp", "transformer")
    ]
    assert [case.name for case in parse_cases("molecules")] == [
        f"molecules{batch}-{network}" for batch in (4, 64) for network in ("attention", "mpnn")
    ]
    for name in ("2x8x64", "collect", "dag20x256-transformer", "molecules4-mpnn"):
        job = Job(name, 8, 50, 100, 2, "cpu", runs=7)
        assert Job(**json.loads(json.dumps(asdict(job)))) == job


def test_distinct_states_of_replicas_with_more_and_fewer() -> None:
    states = torch.tensor([[[0, 1, 2], [0, 1, 1]], [[0, 0, 0], [0, 5, 5]]])[..., None]  # [R, B, T + 1, 1]
    mask = torch.tensor([[[True, True], [True, True]], [[True, True], [True, False]]])
    trajectories = Trajectories(states, torch.zeros(2, 2, 2, dtype=torch.long), mask, torch.zeros(2, 2), None)
    assert distinct_states(trajectories).tolist() == [[[0], [1]], [[0], [0]]]


def test_large_dags_are_timed_over_fewer_updates() -> None:
    updates = [case_of(name).default_updates for name in DAG_CASES]
    assert updates == sorted(updates, reverse=True)
    assert (updates[0], updates[-1]) == (50, 3)
    jobs, rounds = plan(["case=dag5x64-mlp,dag20x256-mlp,2x8x64"], peers=False)
    assert [[(job.updates, job.warmup) for job in several] for several in jobs] == [
        *([(50, 100)] * 2, [(3, 6)] * 2, [(50, 100)] * 2)
    ]
    jobs, _ = plan(["case=dag20x256-mlp", "updates=4", "warmup=0"], peers=False)
    assert [(job.updates, job.warmup) for several in jobs for job in several] == [(4, 0)] * 2
    assert rounds == 1


@pytest.mark.parametrize("sampler", DAG_NETWORKS)
def test_a_case_of_dags_trains_what_it_says(sampler: str) -> None:
    job = Job(f"dag4x16-{sampler}", 2, 1, 0, 1, "cpu")
    config = job.config()
    assert config.target.score["_target_"].endswith("BGe")
    assert config.target.prior["_target_"].endswith("Uniform")
    assert (config.target.data.n_nodes, config.target.data.n_samples, config.sampler.backward) == (4, 100, "uniform")
    trainer = build_trainer(config)[0]
    loss, trajectories, _ = trainer.update()
    assert loss.shape == (2,)
    assert trajectories.states.shape[:2] == (2, 16)
    assert trajectories.states.shape[3:] == (2, 4, 4)


def test_a_peer_sees_the_same_table_and_has_to_agree_on_rewards(tmp_path: Path) -> None:
    """What the peer computes from the file is checked against two graphs that both score."""
    job = Job("dag3x8-mlp", 1, 1, 0, 1, "cpu")
    write_table(job, str(tmp_path / "table.txt"))
    rows = numpy.loadtxt(tmp_path / "table.txt")
    assert rows.shape == (100, 3)
    chain, complete = known_log_rewards(build_trainer(job.config())[0].parts.target)
    local = bge_of(rows)
    empty = sum(local(j, []) for j in range(3))
    assert chain == pytest.approx(local(0, []) + local(1, [0]) + local(2, [1]) - empty, abs=1e-9)
    assert complete == pytest.approx(local(0, []) + local(1, [0]) + local(2, [0, 1]) - empty, abs=1e-9)
    ours, theirs = (measured(name, [1.0], 2.0) | {"case": "dag3x8-mlp"} for name in ("gfn_vi", "gfnx"))
    ours |= {"log_rewards": [10.0, 50.0]}
    assert len(compared([summarized([ours]), summarized([theirs | {"log_rewards": [10.01, 50.1]}])])) == 1
    with pytest.raises(UsageError, match="gfnx dag3x8-mlp: log-rewards"):
        compared([summarized([ours]), summarized([theirs | {"log_rewards": [10.0, 60.0]}])])


def bge_of(rows: Any) -> Callable[[int, list[int]], float]:
    """Local scores as gfnx writes them: determinants of R within sets of nodes (its float32 made float64)."""
    n, d = rows.shape
    t, mean = 0.5, rows.mean(0)
    scatter = t * numpy.eye(d) + (rows - mean).T @ (rows - mean) + n / (n + 1) * numpy.outer(mean, mean)

    def local(j: int, parents: list[int]) -> float:
        p, everyone = len(parents), [*parents, j]
        constant = -0.5 * math.log(n + 1) + math.lgamma((n + 3 + p) / 2) - math.lgamma((3 + p) / 2)
        constant += -n / 2 * math.log(math.pi) + (3 + 2 * p) / 2 * math.log(t)
        inner = numpy.linalg.slogdet(scatter[numpy.ix_(parents, parents)])[1] if parents else 0.0
        outer = numpy.linalg.slogdet(scatter[numpy.ix_(everyone, everyone)])[1]
        return float(constant + (n + 2 + p) / 2 * inner - (n + 3 + p) / 2 * outer)

    return local


@pytest.mark.parametrize("loss", DENSITY_LOSSES)
def test_a_case_of_densities_trains_what_it_says(loss: str) -> None:
    job = Job(f"many_well-5x6-{loss}", 2, 1, 0, 1, "cpu")
    assert peers_of(job.case) == ["gfn_diffusion"]
    config = job.config()
    assert (config.sampler.n_steps, config.sampler.hidden, config.trainer.batch_size) == (5, [64, 64], 6)
    assert ("estimator" in config.objective) == (loss != "tb")
    trainer = build_trainer(config)[0]
    assert trainer.update()[1].states.shape == (2, 6, 6, 32)
    assert known_log_rewards(trainer.parts.target) == pytest.approx([0, 80])  # 16 pairs of -1 + 6 + 1/2 - 1/2


def test_dags_are_compared_with_gfnx_alone() -> None:
    assert peers_of(case_of("dag5x64-mlp")) == ["gfnx"]
    assert peers_of(case_of("2x8x64")) == ["torchgfn", "gfnx"]
    assert peers_of(case_of("exact")) == []
    rows = [
        {"case": case, "replicas": 1, "peer": "gfnx", "ratio": 2.0, "ratio_matched": 1.2}
        for case in ("dag5x64-mlp", "dag6x64-mlp")
    ]
    first, second = comparison_lines(rows)[-2:]
    assert "1.20 x (goal 1.3 x: missed)" in first
    assert "1.20 x (goal 1 x: reached)" in second


def test_more_memory_than_is_free_is_a_result_and_no_crash() -> None:
    job = Job("dag5x64-mlp", 8, 1, 0, 1, "cpu")
    script = "import torch; torch.zeros(2**40)"
    found = run_process("gfn_vi", job, [sys.executable, "-c", script], dict(os.environ))
    assert found == {"not_measured": "needs more memory than is free"}
    head = {"implementation": "gfn_vi", "case": "dag5x64-mlp", "replicas": 8, "batch": 64}
    merged = summarized([head | found])
    assert "not measured: needs more memory than is free" in result_lines(merged)[0]
    assert compared([merged, summarized([measured("gfnx", [20.0], 8.0)])]) == []


def test_a_process_gets_the_free_memory_and_no_more() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with only_free_memory():
        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
        assert soft > 0 or not Path("/proc/meminfo").exists()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert lacks_memory("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
    assert lacks_memory("jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
    assert not lacks_memory("RuntimeError: mat1 and mat2 shapes cannot be multiplied")


def test_collected_runs_are_runs(tmp_path: Path) -> None:
    """As many as asked for, of different seeds and rates, each with the values that a run records; no goal but for 10,000."""
    job = Job("collect", 2, 1, 0, 1, "cpu", runs=102)
    said: list[str] = []
    table = collect(make_runs(tmp_path, job), say=said.append)
    assert said == ["102 runs: 102 done"]
    assert table.groupby("config.optimizer.lr_forward", observed=True)["seed"].unique().map(sorted).map(
        tuple
    ).value_counts().to_dict() == {
        (0, 1): 98,
        (0, 1, 2, 3): 2,
    }
    assert len(table) == 102 * (table["run"] == table["run"].iloc[0]).sum()
    assert sorted(set(table["trajectories"])) == list(range(0, 641, 64))
    found = time_collection(job)
    assert (found["runs"], found["rows"]) == (102, len(table))
    told = result_lines(
        summarized([found | {"implementation": "gfn_vi", "case": "collect", "replicas": 2, "batch": 64, "peak_memory_mb": 1.0}])
    )
    assert f"102 runs, {len(table):,} rows" in told[1]
    assert "goal" not in told[1]


@pytest.mark.parametrize(("updates", "sizes"), [(1, [1]), (2, [1, 1]), (7, [2, 2, 1, 1, 1]), (50, [10] * 5)])
def test_blocks_hold_all_updates(updates: int, sizes: list[int]) -> None:
    assert Job("2x8x64", 1, updates, 0, 1, "cpu").blocks == sizes


def test_inner_phases_are_not_counted_twice() -> None:
    stopwatch = Stopwatch(itertools.count().__next__)  # every look at the clock is one second later
    with stopwatch.phase("optimizer"):
        with stopwatch.phase("backward"):
            pass
        with stopwatch.phase("backward"):
            pass
    assert stopwatch.seconds["optimizer"] == 3
    assert stopwatch.seconds["backward"] == 2


def test_timing_phases_changes_nothing() -> None:
    plain, timed = (build_trainer(Job("2x4x8", 2, 1, 0, 1, "cpu").config())[0] for _ in range(2))
    parts, grad = timed.parts, torch.autograd.grad
    timed_parts = (parts.target, parts.exploration, parts.sampler, parts.objective, parts.optimizer)
    own = [dict(vars(type(part))) for part in timed_parts]
    stopwatch = Stopwatch(time.perf_counter)
    with phases_timed(timed, stopwatch):
        losses = [timed.update()[0] for _ in range(3)]
    assert timed.parts is parts
    assert torch.autograd.grad is grad
    assert torch.equal(torch.stack(losses), torch.stack([plain.update()[0] for _ in range(3)]))
    assert [vars(type(part)) for part in timed_parts] == own
    assert set(stopwatch.seconds) >= {"sample", "reward", "loss", "backward", "optimizer"}


def test_distinct_states_are_real_ones_of_each_replica() -> None:
    states = torch.tensor([[[0], [1], [1]], [[0], [0], [0]]])  # lengths 2 and 1; the last state repeats
    other = torch.tensor([[[0], [1], [1]], [[3], [3], [3]]])
    mask = torch.tensor([[[1, 1], [1, 0]], [[1, 1], [1, 0]]]).bool()
    trajectories = Trajectories(torch.stack([states, other]), mask.long(), mask, torch.zeros(2, 2), None)
    assert distinct_counts(trajectories) == [2, 3]


def test_distinct_states_are_counted_over_all_replicas_of_an_update() -> None:
    looked, plain = (build_trainer(Job("2x4x8", 3, 1, 0, 1, "cpu").config())[0] for _ in range(2))
    found = look_closely(looked, 2)
    counts = [distinct_counts(plain.update()[1]) for _ in range(2)]
    assert found["distinct_states"] == sum(map(sum, counts)) / 2


def measured(name: str, ms: list[float], length: float, replicas: int = 1) -> dict[str, Any]:
    head = {"implementation": name, "case": "2x8x64", "replicas": replicas, "batch": 64}
    return head | {"block_ms": ms, "mean_length": length, "peak_memory_mb": 100.0}


def test_ratios_are_per_replica_and_at_matched_lengths() -> None:
    ours = summarized([measured("gfn_vi", [16.0, 19.0], 7.0, 8), measured("gfn_vi", [15.0], 9.0, 8)])  # 2 ms per replica
    peers = [summarized([measured("torchgfn", [40.0], 8.0)]), summarized([measured("gfnx", [20.0], 10.0)])]
    assert (ours["ms"], ours["ms_range"], ours["rounds"]) == (16.0, [15.0, 19.0], 2)
    rows = compared([ours, *peers])
    assert [(row["peer"], row["ratio"], row["ratio_matched"]) for row in rows] == [("torchgfn", 20, 20), ("gfnx", 10, 8)]
    assert "8.00 x (goal 7 x: reached)" in comparison_lines(rows)[-1]
    assert "DISTURBED: others used up to 0.5 cores" in result_lines(ours | {"busy_cores_during": 0.5})[-1]
    assert "16.00 ms/update (15.00 to 19.00), per replica 2.00 ms" in result_lines(ours)[0]


def test_a_busy_process_is_noticed() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "import time\nend = time.time() + 30\nwhile time.time() < end: pass"])
    try:
        others = Others()
        time.sleep(0.5)
        cores = others.cores()
        if cores is None:
            pytest.skip("no /proc/stat here")
        assert cores > DISTURBING_CORES
        assert "cores busy by" in others.warning()
    finally:
        busy.kill()
        busy.wait()


def test_a_peer_that_cannot_be_installed_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.runner.CLONE", tmp_path)
    monkeypatch.setitem(PEERS, "nobody", ("no-such-requirement @ file:///nonexistent",))
    for _ in range(2):  # the first failure leaves nothing that would pass for an installation
        with pytest.raises(UsageError, match="nobody cannot be installed"):
            ensure_installed("nobody")
