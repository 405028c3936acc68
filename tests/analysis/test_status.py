"""What the runs of a folder are doing: states, progress from the end of a growing file, the two views, the command."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gfn_vi.analysis.pages.status_view import choose_rows, clock, plain, short_labels, snapshot, table
from gfn_vi.commands import status as status_command
from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import LEGEND, MARK
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.metrics_tail import FIRST_BYTES, MetricsTail
from gfn_vi.runs.state import RunState
from gfn_vi.runs.sweep_states import Progress, SweepStates, count, seconds_left

CLONE = Path(__file__).resolve().parents[2]
JSD = Headline("jsd", "minimize", math.log(2), "exact JSD")
HEADER = "step,trajectories,reward_calls,wall_seconds,replica,metric,value\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\n\n'
MakeRun = Callable[..., Path]


def say(path: Path, **changes: object) -> None:
    """Change what status.json of a run says."""
    content = json.loads((path / "status.json").read_text()) | changes
    (path / "status.json").write_text(json.dumps(content))


def states_of(folder: Path) -> dict[str, str]:
    return {run.name: run.state for run in SweepStates(folder).look()}


def record(trajectories: int, metric: str, *values: float) -> str:
    """Lines of metrics.csv, one per replica; a trajectory takes 10 ms."""
    rows = [
        f"{trajectories // 64},{trajectories},{trajectories},{trajectories / 100},{r},{metric},{v!r}\n"
        for r, v in enumerate(values)
    ]
    return "".join(rows)


def test_every_state_is_read_off_the_directory(make_run: MakeRun) -> None:
    """Also of a run that died before its first status.json, and of one that was planned and never started."""
    done, failed, interrupted, killed, diverged, damaged, early = (make_run("reverse_kl", seed=seed) for seed in range(7))
    say(failed, state="failed", error=TRACEBACK)
    say(interrupted, state="interrupted")
    say(killed, state="running")
    say(diverged, error="replicas [1] became non-finite")
    (damaged / "status.json").write_text("{")
    (early / "status.json").unlink()
    folder = done.parent
    (folder / "wandb").mkdir()  # no run
    manifest = {"runs": {name: {"overrides": ["seed=7"]} for name in (done.name, "reverse_kl-s7-00000000")}}
    (folder / "sweep.json").write_text(json.dumps(manifest))
    names = [path.name for path in (done, failed, interrupted, killed, diverged, damaged, early)] + ["reverse_kl-s7-00000000"]
    expected = ["done", "failed", "interrupted", "killed", "diverged", "damaged", "killed", "missing"]
    assert states_of(folder) == dict(zip(names, expected, strict=True))


def test_a_run_that_is_written_runs(make_run: MakeRun) -> None:
    """Whoever holds its lock decides, not what status.json said before."""
    path = make_run()
    say(path, state="running")
    states = SweepStates(path.parent)
    with RunDirectory(path):
        assert [run.state for run in states.look()] == ["running"]
    assert [run.state for run in states.look()] == ["killed"]
    say(path, state="done")
    assert [run.state for run in states.look()] == ["done"]


def test_a_run_whose_lock_cannot_be_looked_at_is_shown(make_run: MakeRun) -> None:
    """With or without a status.json that says running; one that is done needs no lock."""
    running, early, done = (make_run("reverse_kl", seed=seed) for seed in range(3))
    say(running, state="running")
    (early / "status.json").unlink()
    for path in (running, early, done):
        (path / "run.lock").symlink_to("run.lock")
    found = {run.name: run for run in SweepStates(done.parent).look()}
    assert [found[path.name].state for path in (running, early, done)] == ["damaged", "damaged", "done"]
    assert all("run.lock" in found[path.name].error_line for path in (running, early))


@pytest.mark.parametrize("content", ["", "[]", '{"runs": []}', '{"runs": {"a": 1}}'])
def test_a_damaged_manifest_hides_no_run(make_run: MakeRun, content: str) -> None:
    path = make_run()
    (path.parent / "sweep.json").write_text(content)
    assert states_of(path.parent) == {path.name: "done"}


def test_error_line_is_the_last_that_says_something() -> None:
    assert RunState("a", "failed", error=TRACEBACK).error_line == "ValueError: no"
    assert RunState("a", "done").error_line == ""


def test_tail_follows_a_growing_file(tmp_path: Path) -> None:
    """A line that is still being written waits; a file that was cut back by a resumed run is read anew."""
    path = tmp_path / "metrics.csv"
    tail = MetricsTail(path, JSD)
    tail.read()
    assert (tail.trajectories, tail.value) == (0, None)
    first = HEADER + record(0, "jsd", 0.5, 0.3) + record(640, "loss", 1.0, 2.0)
    path.write_text(first + "20,1280,1280,12")
    tail.read()
    assert (tail.trajectories, tail.wall_seconds, tail.value) == (640, 6.4, 0.4)
    path.write_text(first + record(1280, "jsd", 0.1, 0.2))
    tail.read()
    assert (tail.trajectories, tail.value) == (1280, pytest.approx(0.15))
    path.write_text(HEADER + record(0, "jsd", 0.5, 0.3))
    tail.read()
    assert (tail.trajectories, tail.value) == (0, 0.4)


def test_tail_finds_the_last_jsd_far_from_the_end(tmp_path: Path) -> None:
    """All replicas of it, wherever the blocks that are read begin; a replica that is NaN counts as the worst."""
    for n in (0, *range(120, 190), 700):
        path = tmp_path / f"{n}.csv"
        noise = "".join(record(64 * step, "loss", 1.0, 2.0, 3.0) for step in range(3, 3 + n))
        path.write_text(HEADER + record(64, "loss", *[1.0] * 900) + record(128, "jsd", 0.2, math.nan, 0.1) + noise)
        tail = MetricsTail(path, JSD)
        tail.read()
        assert tail.value == 0.2
        assert tail.trajectories == 64 * (2 + n)
    assert path.stat().st_size > 3 * FIRST_BYTES


def test_a_sampled_headline_has_its_error(make_run: MakeRun) -> None:
    """A target too large to list is no blank: the column is named after its metric, higher is better."""
    path = make_run()
    elbo = {"metric": "sampled_elbo", "direction": "maximize", "worst": "-inf", "words": "sampled ELBO (nats)"}
    rows = record(512, "sampled_elbo", -3.0, math.nan, -2.0) + record(512, "sampled_elbo_se", 0.1, 0.3, 0.2)
    (path / "metrics.csv").write_text(HEADER + rows)
    say(path, headline=elbo)
    _, names, row, about = plain(snapshot(SweepStates(path.parent), 50)).splitlines()
    assert names.split()[4] == "sampled_elbo"
    assert row.split()[4] == "-3+-0.2"
    assert about == "sampled_elbo: sampled ELBO (nats), higher is better; what diverged counts as -inf"
    other = make_run("forward_kl")
    assert plain(snapshot(SweepStates(other.parent), 50)).splitlines()[1].split()[4] == "headline"


@pytest.mark.parametrize(
    ("n_effective", "k", "shown"), [((900.0, 300.0), (0.1, 0.7), "-3+-0.2"), ((900.0, 1.0), (0.1, 0.2), "-3 (?)")]
)
def test_a_headline_that_weights_do_not_carry_is_marked(
    n_effective: tuple[float, float], k: tuple[float, float], shown: str, make_run: MakeRun
) -> None:
    """In one replica or more; a look that sees the weights later than the number corrects itself."""
    path = make_run()
    log_Z = {"metric": "sampled_log_Z", "direction": "maximize", "worst": "-inf", "words": "log Z"}
    say(path, headline=log_Z)
    number = record(512, "sampled_log_Z", -3.0, -3.0) + record(512, "sampled_log_Z_se", 0.2, 0.2)
    (path / "metrics.csv").write_text(HEADER + number)
    states = SweepStates(path.parent)
    assert "-3+-0.2" in plain(snapshot(states, 50))
    weights = record(512, "sampled_n_effective", *n_effective) + record(512, "sampled_pareto_k", *k)
    (path / "metrics.csv").write_text(HEADER + number + weights)
    for look in (states, SweepStates(path.parent)):
        told = plain(snapshot(look, 50))
        assert shown in told
        assert (LEGEND in told) is (MARK in shown)


def test_progress_of_a_running_run(make_run: MakeRun) -> None:
    """Trajectories in whole batches; the time left is that of the speed so far."""
    path = make_run(trainer={"n_trajectories": 1000, "batch_size": 64})
    (path / "metrics.csv").write_text(HEADER + record(512, "jsd", 0.25))
    say(path, state="running", step=4)
    states = SweepStates(path.parent)
    with RunDirectory(path):
        progress = states.progress(*states.look())
    assert (progress.trajectories, progress.total, progress.share, progress.value) == (512, 1024, 0.5, 0.25)
    assert progress.seconds is not None
    assert progress.seconds_left is not None
    assert progress.seconds + progress.seconds_left == pytest.approx(10.24)


def test_time_left_counts_what_has_not_started() -> None:
    """Two at a time, 10 s each: 4 s and 6 s to go, three more to come; not less than the longest that runs."""
    two = [RunState("a", "running"), RunState("b", "running")]
    done, missing = RunState("d", "done", wall_seconds=10.0), [RunState(name, "missing") for name in "xyz"]
    progress = {"a": Progress(60, 100, None, 6.0, 4.0), "b": Progress(40, 100, None, 4.0, 6.0)}
    assert seconds_left([*two, done, *missing], progress) == (4 + 6 + 3 * 10) / 2
    assert seconds_left([*two, done], progress) == 6
    assert seconds_left(two, {"a": Progress(0, 100, None, 1.0, None), "b": Progress(0, 100, None, 1.0, None)}) is None
    assert seconds_left([done, *missing], {}) is None


def test_of_thousands_those_that_run_or_broke_have_rows() -> None:
    runs = [RunState(f"r{n:04}", "done") for n in range(3000)]
    runs[5], runs[2000], runs[7] = RunState("r0005", "failed"), RunState("r2000", "running"), RunState("r0007", "missing")
    assert [run.name for run in choose_rows(runs, 20)] == ["r0005", "r2000"]
    broken = [RunState(f"r{n:04}", "failed") for n in range(50)]
    shown = choose_rows([*broken, RunState("z", "running")], 10)
    assert len(shown) == 9
    assert shown[-1].name == "z"
    assert count(runs) == {"done": 2997, "missing": 1, "failed": 1, "running": 1}


def test_labels_are_what_tells_runs_apart() -> None:
    """Words of the name; for equal ones the overrides that differ; for equal ones of those the hash."""
    a, b = RunState("tb-grid-mlp-seed0-00000001", "done"), RunState("rws-grid-mlp-seed0-00000002", "done")
    assert short_labels([a, b]) == {a.name: "tb", b.name: "rws"}
    slow = RunState("tb-grid-mlp-seed0-00000003", "done", ("arm=tb", "optimizer.lr_log_Z=0.1"))
    fast = RunState("tb-grid-mlp-seed0-00000004", "done", ("arm=tb", "optimizer.lr_log_Z=1.0"))
    assert short_labels([slow, fast]) == {slow.name: "lr_log_Z=0.1", fast.name: "lr_log_Z=1.0"}
    twin = RunState("tb-grid-mlp-seed0-00000005", "done")
    assert short_labels([a, twin]) == {a.name: "00000001", twin.name: "00000005"}
    assert short_labels([a]) == {a.name: "tb-grid-mlp-seed0"}


def test_clock() -> None:
    assert [clock(s) for s in (None, 3.4, 125, 3725)] == ["-", "0:03", "2:05", "1:02:05"]


def test_plain_columns_stay_where_they_are(make_run: MakeRun) -> None:
    """Seven columns without spaces, then the name of the run, then its error."""
    done, failed = make_run("reverse_kl"), make_run("forward_kl")
    say(failed, state="failed", error=TRACEBACK, wall_seconds=65.0)
    head, names, *rows, about = plain(snapshot(SweepStates(done.parent), 50)).splitlines()
    assert head == "quickstart: 2 runs: 1 done, 1 failed"
    assert names.split() == ["state", "share", "trajectories", "of", "jsd", "spent", "left", "run", "error"]
    assert f"\n{names}\n" in (CLONE / "docs/looking.md").read_text(), "the sample is as the command prints it"
    assert [row.split()[0] for row in rows] == ["failed", "done"]
    assert rows[0].split()[5] == "1:05"
    assert rows[0].split()[7:] == [failed.name, "ValueError:", "no"]
    assert rows[1].split()[7:] == [done.name]
    assert rows[0].index(failed.name) == rows[1].index(done.name)
    assert about == "jsd: exact Jensen-Shannon divergence (nats), lower is better; what diverged counts as 0.693"


def test_a_run_that_diverged_is_shown_at_the_worst(make_run: MakeRun) -> None:
    """As the table at the end of its sweep has it, whatever the last finite parameters gave."""
    path = make_run("reverse_kl", n_points=2)
    with open(path / "metrics.csv", "a") as file:
        file.write(record(50_000, "jsd", 0.392, 0.392) + record(50_000, "jsd_se", 0.1, 0.1))
    states = SweepStates(path.parent)
    (run,) = states.look()
    assert states.progress(run).value == 0.392
    say(path, error="replicas [0, 1] became non-finite")
    assert plain(snapshot(states, 50)).splitlines()[2].split()[:5:4] == ["diverged", "0.693"]


def test_table_fits_the_screen_with_many_runs_and_errors(make_run: MakeRun) -> None:
    """Rows, the line that counts the others and a few errors, on 24 lines of 80 characters."""
    for seed in range(30):
        say(make_run("reverse_kl", seed=seed, n_points=2), state="failed", error=f"ValueError: {seed}\n")
    console = Console(width=80, height=24, file=io.StringIO())
    seen = snapshot(SweepStates(make_run("forward_kl").parent), status_command.rows_that_fit(console))
    console.print(table(seen, 80, "a remark"))
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == "quickstart: 31 runs: 1 done, 30 failed"
    assert sum("reverse_kl" in line and " failed " in line for line in lines) == len(seen.shown) >= 10
    assert f"not shown: 1 done, {30 - len(seen.shown)} failed" in [line.strip() for line in lines]
    assert "other errors" in lines[-1]


def test_exit_status_tells_whether_all_is_done(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run()
    assert status_command.main([str(path.parent)]) == 0
    say(path, state="interrupted")
    assert status_command.main([str(path.parent), "--once"]) == 1
    capsys.readouterr()
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, why in ((tmp_path / "nothing", "no such folder"), (empty, "no runs found"), (path, "is itself a run")):
        assert status_command.main([str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert why in error
        assert error.count("\n") == 1


def test_nothing_heavy_is_imported(make_run: MakeRun) -> None:
    folder = make_run().parent
    code = "import sys; from gfn_vi.commands.status import main; main(sys.argv[1:]); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, cwd=CLONE)
    loaded = set(answer.stdout.splitlines()[-1].split())
    assert "gfn_vi.runs.sweep_states" in loaded
    assert not loaded & {"torch", "pandas", "pyarrow", "numpy", "hydra", "omegaconf", "matplotlib"}


def in_a_terminal(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The command in a terminal of its own, and our end of it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "scripts/status.py", str(folder), "--every", "0.1"]
    environment = os.environ | {"COLUMNS": "120", "LINES": "30", "TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=CLONE, env=environment, start_new_session=True
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows up to `text`; to its end if that does not come."""
    seen = ""
    while text not in seen:
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
    return seen


def test_live_table_ends_with_the_last_run(make_run: MakeRun) -> None:
    path = make_run()
    say(path, state="running")
    with RunDirectory(path) as directory:
        process, terminal = in_a_terminal(path.parent)
        assert "running" in read_until(terminal, "running")
        directory.write_status("done", 40)
    rest = read_until(terminal, "no such text")
    assert process.wait(timeout=20) == 0
    os.close(terminal)
    assert "quickstart: 1 run: 1 done" in rest


def test_live_table_waits_a_while_for_what_could_start(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher needs some seconds: what is not done may run soon. What is done, well or not, will not."""
    killed, other = make_run("reverse_kl"), make_run("forward_kl")
    say(killed, state="running")
    looks = []
    monkeypatch.setattr(status_command, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(status_command, "snapshot", lambda *given: looks.append(snapshot(*given)) or looks[-1])
    status_command.watch(SweepStates(other.parent), 0.1)
    assert len(looks) > 1
    looks.clear()
    say(killed, state="done", error="replicas [0] became non-finite")
    status_command.watch(SweepStates(other.parent), 0.1)
    assert len(looks) == 1


def test_ctrl_c_leaves_the_live_table(make_run: MakeRun) -> None:
    path = make_run()
    say(path, state="running")
    with RunDirectory(path):
        process, terminal = in_a_terminal(path.parent)
        read_until(terminal, "running")
        process.send_signal(2)
        rest = read_until(terminal, "no such text")
        assert process.wait(timeout=20) == 130
        os.close(terminal)
    assert "Traceback" not in rest
