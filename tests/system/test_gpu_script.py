"""scripts/gpu.py: all that it does without a GPU, and what it makes of what a GPU would say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.cases import Job, UsageError
from benchmark.gpu import CASES, Deadline, Findings, follow, main, of_json, read_keys, run_case
from benchmark.report import figure_lines, graph_line, minutes, result_lines
from benchmark.timing import first_wait
from gfn_vi.core.log_probability import sampling_noise

ROOT = Path(__file__).resolve().parents[2]
TINY = ("device=cpu", "side=8", "settings=1", "updates=1", "warmup=0", "window=1", "replicas=1,2", "case=2x3x2", "seconds=300")


def test_everything_is_tried_and_lies_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "found"
    main([str(folder), *TINY])
    said = capsys.readouterr().out
    assert (folder / "summary.txt").read_text() == said
    assert sorted(path.name for path in folder.iterdir()) == ["errors.txt", "results.json", "summary.txt", "tests.txt"]
    assert (folder / "errors.txt").read_text() == ""
    found = json.loads((folder / "results.json").read_text())
    assert [(s["setting"], s["replicas"], s["updates"], s["measurements"]) for s in found["settings"]] == [
        ("paper/trajectory_balance", 5, 15625, 79)  # a million trajectories, measured before them and after each 12,800
    ]
    assert [s["setting"] for s in found["together"]] == ["paper/trajectory_balance"]
    assert [(g["graph"], g["problem"]) for g in found["graphs"]] == [
        (name, "device=cpu has no CUDA graphs") for name in ("rollout", "update")
    ]
    assert [(c["case"], c["replicas"]) for c in found["cases"]] == [("2x3x2", 1), ("2x3x2", 2)]
    assert found["tests"][0]["problem"] == ""
    for words in (
        "device=cpu: this tries the script itself",
        "Fig. 1, 1 settings x 5 seeds x 15,625 updates",
        "skipped in",
        "bound",
    ):
        assert words in said


def test_what_does_not_fit_or_takes_too_long_is_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings(tmp_path)
    run_case([Job("2x3x2", n, 1, 0, 1, "cpu") for n in (1, 8)], Deadline(0), findings)
    assert capsys.readouterr().out.splitlines() == [
        "skipped: 2x3x2, 1 replica: no time is left",
        "skipped: 2x3x2, 8 replicas: no time is left",
    ]
    lines: list[str] = []
    script = "import sys, time; print('one', flush=True); print('two', flush=True); {}"

    def told(end: str, seconds: float = 60) -> str:
        return follow([sys.executable, "-c", script.format(end)], seconds, lines.append, findings)

    assert told("") == ""
    assert told("time.sleep(60)", 1.0) == "stopped after 1 s"
    assert told("raise MemoryError('CUDA out of memory. Tried')") == "needs more memory than there is"
    assert told("raise ValueError('this\\nand that')") == "ValueError: this"
    assert told("sys.exit(3)") == "ended with status 3"
    assert lines == ["one", "two"] * 5
    assert "and that" in (tmp_path / "errors.txt").read_text()


def test_lines_that_libraries_print_are_passed_over() -> None:
    found: list[dict[str, Any]] = []
    for line in ("a library is deprecated", '{"ms": 1.0}', ""):
        of_json(found.append)(line)
    assert found == [{"ms": 1.0}]


def test_the_figure_takes_what_its_updates_and_measurements_take() -> None:
    """1,000 updates of 30 and 60 ms and 10 measurements of 3 s: 1 and 1.5 minutes; at once 90 ms for each, 1.5 + 1 minutes."""
    alone = [
        {"setting": s, "replicas": 5, "ms": ms, "updates": 1000, "measurements": 10, "measure_ms": 3000.0}
        for s, ms in (("a", 30.0), ("b", 60.0))
    ]
    assert [minutes(s) for s in alone] == [1.0, 1.5]
    together = [{"setting": s, "ms": 90.0} for s in "ab"]
    lines = figure_lines(alone, together)
    assert lines[0] == "a, 5 replicas: 30.0 ms/update, 90.0 beside all others, 3000 ms/measurement, 1.0 minutes"
    assert lines[2:] == [
        "Fig. 1, 2 settings x 5 seeds x 1,000 updates: 2.5 minutes, one setting after the other (aim: 30 for 12 settings)",
        "Fig. 1, 2 settings x 5 seeds x 1,000 updates: 2.5 minutes, all settings at once",
    ]
    assert len(figure_lines(alone, together[:1])) == 3
    assert figure_lines([], []) == []


def test_graphs_and_waits_in_words() -> None:
    head: dict[str, Any] = {"graph": "rollout", "setting": "a", "ms": 20.0}
    assert graph_line(head | {"problem": "no"}) == "CUDA graph of one rollout, a: 20.00 ms as it is; not captured: no"
    assert graph_line(head | {"replayed_ms": 4.0, "same_draws": True}).endswith("as it is, 4.00 ms replayed, the same draws")
    assert graph_line(head | {"replayed_ms": 4.0, "same_draws": False}).endswith("replayed, OTHER DRAWS")
    timed = {"implementation": "gfn_vi", "case": "2x8x64", "replicas": 1, "ms": 1.0, "ms_per_replica": 1.0, "ms_range": [1, 1]}
    assert result_lines(timed | {"host_waits": ""})[-1].strip() == "nothing in an update waits for the device"
    waiting = result_lines(timed | {"host_waits": "gfn_vi/a.py:1: int(x)"})[-1]
    assert waiting.strip() == "the host waits for the device at gfn_vi/a.py:1: int(x)"
    bound = {
        "bound_ms": 0.1,
        "times_bound": 10.0,
        "gflop_per_update": 1.0,
        "gflop_per_second": 1.0,
        "distinct_states": 1.0,
        "product": "",
    }
    assert "goal" not in result_lines(timed | bound | {"device_name": "a GPU"})[-1]  # goals are those of a CPU


def test_what_makes_the_host_wait_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for torch.cuda: an update whose first operation in the package raises as torch does."""
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    class Waiting:
        dtype = torch.float32

        def clamp_(self, max: float) -> None:
            raise RuntimeError("called a synchronizing CUDA operation")

    place = first_wait(lambda: sampling_noise(Waiting()))  # type: ignore[arg-type]
    assert place.startswith("gfn_vi/core/log_probability.py:")
    assert place.endswith(": return uniform.clamp_(max=1.0 - 4.0 * torch.finfo(uniform.dtype).eps)")
    assert first_wait(lambda: None) == ""

    def broken() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        first_wait(broken)
    assert modes == ["error", "default"] * 3


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("replica=1", "replica=1: expected key=value with a key of device, case"),
        ("replicas=1,x", "replicas=1,x: expected a whole number >= 1"),
        ("updates=0", "updates=0: expected a whole number >= 1"),
        ("side=1", "side=1: expected a whole number >= 2"),
        ("warmup=-1", "warmup=-1: expected a whole number >= 0"),
        ("seconds=", "seconds=: expected key=value"),
    ],
)
def test_bad_keys_are_one_line(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_keys([word])
    assert read_keys(["warmup=0", "replicas=2"]) | {"warmup": 0, "replicas": [2]} == read_keys(["warmup=0", "replicas=2"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_it_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "found")])
    assert stopped.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_slow_cases_come_last() -> None:
    assert CASES[0] == "2x8x64"
    assert len(CASES) == len(set(CASES))
    slow = [any(word in name for word in ("transformer", "mpnn", "exact", "statistics")) for name in CASES]
    assert slow == sorted(slow)
    done = subprocess.run([sys.executable, "scripts/gpu.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "replicas=1,8,64,256" in done.stdout
