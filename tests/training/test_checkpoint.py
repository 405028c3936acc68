"""A checkpoint is there after a kill at any moment, a flipped bit and a full disk."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gfn_vi.core.errors import RunError
from gfn_vi.runs.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def state_at(step: int) -> dict:
    generator = torch.Generator().manual_seed(step)
    return {
        "step": step,
        "weights": {"w": torch.randn(2, 500, generator=generator, dtype=torch.float64), "none": None},
        "generator": generator.get_state(),
        "rates": [0.1, 1e-300, (1, "x", True)],
    }


def assert_same(found: dict | None, expected: dict) -> None:
    assert found is not None
    assert found["step"] == expected["step"]
    assert torch.equal(found["weights"]["w"], expected["weights"]["w"])
    assert found["weights"]["w"].dtype == torch.float64
    assert found["weights"]["none"] is None
    assert torch.equal(found["generator"], expected["generator"])
    assert found["rates"] == expected["rates"]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "checkpoint.pt"


def files(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


def test_nothing_saved_is_none(path):
    assert load_checkpoint(path) is None


def test_what_is_saved_comes_back_exactly_and_the_one_before_is_kept(path):
    for step in (1, 2, 3):
        save_checkpoint(path, state_at(step))
        assert_same(load_checkpoint(path), state_at(step))
    assert files(path) == ["checkpoint.previous.pt", "checkpoint.pt"]
    path.unlink()
    assert_same(load_checkpoint(path), state_at(2))


def test_loading_runs_no_code(path, tmp_path):
    """An archive whose unpickling would write a file does not: it counts as damaged."""
    torch.save({"step": _Malicious(tmp_path / "harm")}, path)
    with pytest.raises(RunError, match="holds something else than tensors and plain values") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "harm").exists()


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def flipped(data: bytes, position: int, bit: int = 3) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "last byte lost": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda data: random.Random(0).randbytes(len(data)),
    "one bit of a weight": lambda data: flipped(data, data.find(state_at(2)["weights"]["w"].numpy().tobytes()) + 1001),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_falls_back_to_the_one_before(path, caplog, damage):
    save_checkpoint(path, state_at(1))
    save_checkpoint(path, state_at(2))
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.INFO):
        assert_same(load_checkpoint(path), state_at(1))
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(f"damaged checkpoint {path} (")
    assert "going on from" in caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    # The damaged file must not become the previous one.
    assert files(path) == ["checkpoint.damaged.pt", "checkpoint.previous.pt"]
    save_checkpoint(path, state_at(3))
    path.unlink()
    assert_same(load_checkpoint(path), state_at(1))


def test_no_flipped_bit_goes_unnoticed(path):
    save_checkpoint(path, state_at(1))
    save_checkpoint(path, state_at(2))
    good, previous = path.read_bytes(), path.with_name("checkpoint.previous.pt").read_bytes()
    generator = random.Random(0)
    steps = []
    for position in generator.sample(range(len(good)), 150) + list(range(len(good) - 150, len(good))):
        path.write_bytes(flipped(good, position, generator.randrange(8)))
        found = load_checkpoint(path)
        steps.append(found["step"])
        assert_same(found, state_at(steps[-1]))
        assert path.with_name("checkpoint.previous.pt").read_bytes() == previous
    assert steps.count(1) > 100


def test_both_damaged_names_the_files_and_the_way_out(path):
    save_checkpoint(path, state_at(1))
    save_checkpoint(path, state_at(2))
    for name in files(path):
        (path.parent / name).write_bytes(b"garbage")
    with pytest.raises(RunError) as error:
        load_checkpoint(path)
    message = str(error.value)
    assert str(path) in message
    assert str(path.with_name("checkpoint.previous.pt")) in message
    assert "delete them to start over" in message
    assert files(path) == ["checkpoint.previous.pt", "checkpoint.pt"]


# Saves steps 0, 1 and 2 in a child that kills itself at the n-th system call that matters, for every n; after each, the
# parent prints what can be loaded.
KILLS = """
import os, signal, sys
from pathlib import Path
import torch
from gfn_vi.runs.checkpoint import load_checkpoint, save_checkpoint

def killed_at(n, path):
    calls = 0
    def dying(function):
        def call(*arguments, **keywords):
            nonlocal calls
            if calls == n:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            result = function(*arguments, **keywords)
            return result
        return call
    os.fsync, os.replace = dying(os.fsync), dying(os.replace)
    torch.save = dying(torch.save)
    for step in range(3):
        save_checkpoint(path, {"step": step, "w": torch.full((3000,), float(step))})
        path.with_name("acknowledged").write_text(str(step))

for n in range(100):
    directory = Path(sys.argv[1]) / str(n)
    directory.mkdir()
    path = directory / "checkpoint.pt"
    child = os.fork()
    if child == 0:
        killed_at(n, path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    state = load_checkpoint(path)
    acknowledged = path.with_name("acknowledged")
    last = int(acknowledged.read_text()) if acknowledged.exists() else -1
    step = -1 if state is None else state["step"]
    if state is not None:
        assert torch.equal(state["w"], torch.full((3000,), float(step)))
    leftover = (directory / "checkpoint.pt.tmp").exists()
    save_checkpoint(path, {"step": 9, "w": torch.zeros(1)})
    assert load_checkpoint(path)["step"] == 9
    print(int(os.WIFSIGNALED(status)), last, step, int(leftover))
    if not os.WIFSIGNALED(status):
        break
"""


def test_a_kill_at_any_moment_leaves_a_checkpoint(tmp_path):
    shown = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    rows = [tuple(map(int, line.split())) for line in shown.stdout.splitlines()]
    kills = [row for row in rows if row[0]]
    # write, fsync, (rename to previous,) rename, fsync of the directory; thrice
    assert len(kills) == 4 + 5 + 5
    assert rows[-1] == (0, 2, 2, 0)
    assert any(leftover for *_, leftover in kills)
    for _, acknowledged, loaded, _ in kills:
        assert acknowledged <= loaded <= acknowledged + 1


FULL = """
import resource, sys
from pathlib import Path
import torch
from gfn_vi.core.errors import RunError
from gfn_vi.runs.checkpoint import load_checkpoint, save_checkpoint
path = Path(sys.argv[1])
for step in (1, 2):
    save_checkpoint(path, {"step": step})
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    save_checkpoint(path, {"step": 3, "w": torch.zeros(int(sys.argv[3]))})
except RunError as error:
    print(error)
print(load_checkpoint(path)["step"])
"""


@pytest.mark.parametrize(("limit", "numbers"), [(500, 1), (500, 100_000), (50_000, 100_000)])
def test_a_full_disk_keeps_the_old_checkpoint(path, limit, numbers):
    """However much fits: nothing of the buffer, part of the archive's head, part of a tensor."""
    command = [sys.executable, "-c", FULL, str(path), str(limit), str(numbers)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    message, step = shown.stdout.splitlines()
    assert message.startswith(f"cannot write {path}: File too large; free space or set output_root"), shown.stderr
    assert step == "2"
    assert files(path) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_no_space_left_keeps_the_old_checkpoint(path):
    save_checkpoint(path, state_at(1))
    (path.parent / "checkpoint.pt.tmp").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left on device; .*output_root"):
        save_checkpoint(path, state_at(2))
    assert files(path) == ["checkpoint.pt"]
    assert_same(load_checkpoint(path), state_at(1))


def test_a_state_that_cannot_be_pickled_is_not_taken_for_a_full_disk(path):
    class Unwilling:
        def __reduce__(self):
            raise RuntimeError("cannot be pickled")

    with pytest.raises(RuntimeError, match=r"^cannot be pickled$") as error:
        save_checkpoint(path, {"x": Unwilling()})
    assert not isinstance(error.value, RunError)
    assert files(path) == []
