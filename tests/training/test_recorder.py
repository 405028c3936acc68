"""metrics.csv reads back exactly what was recorded, whatever happens to sinks, disk and process."""

from __future__ import annotations

import csv
import logging
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gfn_vi.core.errors import RunError
from gfn_vi.runs.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
HEADER = "step,trajectories,reward_calls,wall_seconds,replica,metric,value"


class Memory:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.written: list[tuple] = []
        self.closed: list[bool] = []

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        self.written.append((step, trajectories, metrics))

    def close(self, failed: bool) -> None:
        self.closed.append(failed)


class Broken(Memory):
    """A sink that fails at the second record and when closed."""

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        super().write(step, trajectories, metrics)
        if len(self.written) == 2:
            raise OSError("no network")

    def close(self, failed: bool) -> None:
        super().close(failed)
        raise RuntimeError("still no network")


def lines(directory: Path) -> list[str]:
    return (directory / "metrics.csv").read_text().splitlines()


def record(recorder: Recorder, step: int, **metrics) -> None:
    recorder.record(step, 10 * step, [step, step + 1], 0.5 * step, metrics)


def test_one_row_per_replica_and_metric(tmp_path):
    recorder = Recorder(tmp_path, [], replicas=2)
    record(recorder, 3, loss=torch.tensor([0.5, 2.0]), jsd=[0.25, 1])
    assert lines(tmp_path) == [
        HEADER,
        "3,30,3,1.5,0,loss,0.5",
        "3,30,4,1.5,1,loss,2.0",
        "3,30,3,1.5,0,jsd,0.25",
        "3,30,4,1.5,1,jsd,1.0",
    ]
    recorder.close(failed=False)


def test_numbers_come_back_bit_for_bit(tmp_path):
    double = torch.tensor([math.pi, 5e-324, -1e308, 0.1], dtype=torch.float64)
    single = torch.tensor([0.1, 1e-40, float("nan"), -float("inf")], dtype=torch.float32)
    recorder = Recorder(tmp_path, [], replicas=4)
    recorder.record(1, 1, [1, 1, 1, 1], 0.1, {"double": double, "single": single, 'a,b"c': [float("inf")] * 4})
    recorder.close(failed=False)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {name: [float(row["value"]) for row in rows if row["metric"] == name] for name in ("double", "single")}
    assert struct.pack("4d", *found["double"]) == struct.pack("4d", *double.tolist())
    assert struct.pack("4d", *found["single"]) == struct.pack("4d", *single.double().tolist())
    assert [row["value"] for row in rows][4:] == [repr(single[0].item()), repr(single[1].item()), "nan", "-inf"] + ["inf"] * 4
    assert rows[-1]["metric"] == 'a,b"c'


def test_other_dtypes_and_gradients_are_numbers_too(tmp_path):
    recorder = Recorder(tmp_path, [], replicas=2)
    leaf = torch.tensor([1.0, 2.0], requires_grad=True)
    record(recorder, 1, count=torch.tensor([3, 4]), flag=torch.tensor([True, False]), grad=2 * leaf)
    record(recorder, 2, half=torch.tensor([0.5, 0.25], dtype=torch.bfloat16))
    assert [line.split(",")[-1] for line in lines(tmp_path)[1:]] == ["3.0", "4.0", "1.0", "0.0", "2.0", "4.0", "0.5", "0.25"]
    recorder.close(failed=False)


@pytest.mark.parametrize(
    "values", [torch.zeros(()), torch.zeros(3), torch.zeros(2, 1), [1.0], torch.zeros(0)], ids=["0", "3", "2x1", "1", "none"]
)
def test_a_metric_of_the_wrong_shape_is_named_and_nothing_is_written(tmp_path, values):
    sink = Memory()
    recorder = Recorder(tmp_path, [sink], replicas=2)
    with pytest.raises(ValueError, match=r"metric odd has shape \(.*expected \(2,\)"):
        record(recorder, 1, fine=[1.0, 2.0], odd=values)
    with pytest.raises(ValueError, match="1 reward_calls; expected 2"):
        recorder.record(1, 1, [1], 0.0, {})
    assert lines(tmp_path) == [HEADER]
    assert sink.written == []
    recorder.close(failed=False)


def test_a_record_is_in_the_file_when_record_returns(tmp_path):
    """A process killed right after `record` loses nothing."""
    script = """
import os, signal, sys
from gfn_vi.runs.recorder import Recorder
Recorder(sys.argv[1], [], 1).record(1, 2, [3], 4.0, {"loss": [5.0]})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False)
    assert lines(tmp_path) == [HEADER, "1,2,3,4.0,0,loss,5.0"]


def test_a_resumed_run_has_the_file_of_an_uninterrupted_one(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for directory in (whole, resumed):
        directory.mkdir()
    recorder = Recorder(whole, [], replicas=2)
    for step in range(6):
        record(recorder, step, loss=[0.1 * step, 0.2])
    recorder.close(failed=False)

    first = Recorder(resumed, [], replicas=2)
    for step in range(3):
        record(first, step, loss=[0.1 * step, 0.2])
    position = first.position()
    assert position == (resumed / "metrics.csv").stat().st_size
    record(first, 3, loss=[9.0, 9.0])
    with open(resumed / "metrics.csv", "a") as file:
        file.write("4,40,torn")
    second = Recorder(resumed, [], replicas=2)
    second.rewind(position)
    for step in range(3, 6):
        record(second, step, loss=[0.1 * step, 0.2])
    second.close(failed=False)
    assert (resumed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_rewinding_to_the_start_keeps_only_the_header(tmp_path):
    recorder = Recorder(tmp_path, [], replicas=2)
    record(recorder, 1, loss=[1.0, 2.0])
    recorder.close(failed=False)
    recorder = Recorder(tmp_path, [], replicas=2)
    assert len(lines(tmp_path)) == 3
    recorder.rewind(0)
    assert lines(tmp_path) == [HEADER]
    record(recorder, 7, loss=[1.0, 2.0])
    assert len(lines(tmp_path)) == 3
    recorder.close(failed=False)


def test_rewinding_beyond_the_end_is_an_error(tmp_path):
    recorder = Recorder(tmp_path, [], replicas=1)
    size = recorder.position()
    with pytest.raises(RunError, match=rf"metrics\.csv has {size} bytes, but .* {size + 1}: metrics are lost"):
        recorder.rewind(size + 1)
    assert recorder.position() == size
    recorder.close(failed=False)


def test_sinks_are_told_and_closed_once(tmp_path):
    sink = Memory()
    recorder = Recorder(tmp_path, [sink], replicas=2)
    record(recorder, 1, loss=torch.tensor([1.0, 2.0]))
    recorder.close(failed=True)
    recorder.close(failed=False)
    assert sink.written == [(1, 10, {"loss": [1.0, 2.0]})]
    assert sink.closed == [True]


def test_a_failing_sink_is_reported_once_and_dropped(tmp_path, caplog):
    broken, good = Broken(), Memory()
    recorder = Recorder(tmp_path, [broken, good], replicas=1)
    with caplog.at_level(logging.INFO):
        for step in range(4):
            recorder.record(step, step, [step], 0.0, {"loss": [1.0]})
        recorder.close(failed=False)
    assert [r.getMessage() for r in caplog.records] == [
        f"Broken failed at step 1 and gets nothing from here on (OSError: no network); {tmp_path / 'metrics.csv'} is complete"
    ]
    assert len(broken.written) == 2
    assert broken.closed == [True]
    assert len(good.written) == 4
    assert good.closed == [False]
    assert len(lines(tmp_path)) == 5


def test_a_sink_that_cannot_be_closed_is_reported(tmp_path, caplog):
    broken, good = Broken(), Memory()
    Recorder(tmp_path, [broken, good], replicas=1).close(failed=False)
    assert [r.getMessage() for r in caplog.records] == ["Broken could not be closed (RuntimeError: still no network)"]
    assert good.closed == [False]


FULL = """
import resource, sys
from gfn_vi.core.errors import RunError
from gfn_vi.runs.recorder import Recorder
recorder = Recorder(sys.argv[1], [], 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
for step in range(100):
    try:
        recorder.record(step, step, [step], 0.0, {"loss": [0.1], "jsd": [0.2]})
    except RunError as error:
        print(step, error)
        break
recorder.close(failed=True)
"""


def test_a_full_disk_names_the_key_and_leaves_whole_records(tmp_path):
    shown = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    step, message = shown.stdout.split(" ", 1)
    assert message.startswith(f"cannot write {tmp_path}/metrics.csv: File too large; free space or set output_root")
    assert len(lines(tmp_path)) == 1 + 2 * int(step)
    assert lines(tmp_path)[-1] == f"{int(step) - 1},{int(step) - 1},{int(step) - 1},0.0,0,jsd,0.2"


def test_no_space_left_and_no_place_name_the_key(tmp_path):
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left on device; .*output_root"):
        Recorder(tmp_path, [], replicas=1)
    with pytest.raises(RunError, match=r"No such file or directory; .*output_root"):
        Recorder(tmp_path / "missing", [], replicas=1)
