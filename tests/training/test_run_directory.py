"""A run's name is what it is; its directory has one writer, who may die at any moment."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.runs.directory import RunDirectory, run_name
from gfn_vi.runs.identity import INFRASTRUCTURE_KEYS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "run_label": "tb-seed0",
    "seed": 0,
    "objective": {"_target_": "a.B", "lr": 0.001, "clip": None},
    "rates": [1, 2],
    "flag": True,
}


def hash_of(config: dict) -> str:
    return run_name(config).rsplit("-", 1)[1]


def test_name_is_label_and_hash():
    name = run_name(CONFIG)
    label, digest = name.rsplit("-", 1)
    assert label == "tb-seed0"
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert name == run_name(json.loads(json.dumps(CONFIG)))


def test_name_is_the_same_in_another_process():
    script = f"from gfn_vi.runs.directory import run_name; print(run_name({CONFIG!r}))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == run_name(CONFIG)


@pytest.mark.parametrize(
    "same",
    [
        {"objective": {"clip": None, "lr": 1e-3, "_target_": "a.B"}},
        {"seed": 0.0},
        {"seed": -0.0},
        {"rates": [1.0, 2.0]},
        {"rates": (1, 2)},
        *({key: {"anything": 3}} for key in sorted(INFRASTRUCTURE_KEYS - {"run_label"})),
    ],
    ids=str,
)
def test_what_does_not_change_the_identity(same):
    assert run_name(CONFIG | same) == run_name(CONFIG)
    assert run_name(dict(reversed((CONFIG | same).items()))) == run_name(CONFIG)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"seed": "0"},
        {"seed": False},
        {"seed": None},
        {"rates": [2, 1]},
        {"objective": CONFIG["objective"] | {"lr": 0.0010000001}},
        {"objective": CONFIG["objective"] | {"device": "cpu"}},
        {"new_key": None},
    ],
    ids=str,
)
def test_what_changes_the_identity(other):
    assert hash_of(CONFIG | other) != hash_of(CONFIG)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, "run"),
        ("", "run"),
        ("../..", "run"),
        ("a/b c:[d]", "a_b_c_d"),
        ("lr=1e-3,x", "lr=1e-3_x"),
        ("--flag", "flag"),
        ("x" * 300, "x" * 100),
    ],
)
def test_labels_are_safe_file_names(label, expected):
    assert run_name({"run_label": label}).rsplit("-", 1)[0] == expected
    assert run_name({}).rsplit("-", 1)[0] == "run"


def test_a_value_that_yaml_cannot_hold_is_named():
    with pytest.raises(ConfigError, match=r"^objective\.rates\[1\]=.*not object"):
        run_name({"objective": {"rates": [1, object()]}})


HOLDER = """
import sys, time
from gfn_vi.runs.directory import RunDirectory
run = RunDirectory(sys.argv[1]).open()
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_writer_and_the_lock_dies_with_it(tmp_path, holder):
    run = RunDirectory(tmp_path / "run")
    expected = rf"run .*/run is being written by another process \(pid {holder.pid} on host {socket.gethostname()}\)"
    with pytest.raises(RunError, match=expected):
        run.open()
    assert run.is_being_written()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not run.is_being_written()
    with run.open():
        assert run.is_being_written()
        run.write_status("running", 0)


def test_a_second_writer_in_the_same_process_is_refused(tmp_path):
    with (
        RunDirectory(tmp_path) as first,
        pytest.raises(RunError, match=f"pid {os.getpid()} "),
        RunDirectory(tmp_path),
    ):
        pass
    with first.open(), pytest.raises(RunError):
        RunDirectory(tmp_path).open()
    assert not list(tmp_path.glob("*.owner"))


def test_who_looks_whether_a_run_is_written_does_not_keep_a_writer_out(tmp_path):
    with RunDirectory(tmp_path):
        pass
    descriptor = os.open(tmp_path / "run.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # what is_being_written does, at its slowest
    threading.Timer(0.05, os.close, [descriptor]).start()
    with RunDirectory(tmp_path) as run:
        assert run.is_being_written()


@pytest.mark.parametrize(("number", "is_held"), [(errno.EAGAIN, True), (errno.EACCES, True), (errno.ENOLCK, False)])
def test_only_a_held_lock_means_that_a_run_is_written(number, is_held, tmp_path, monkeypatch):
    """flock may say other things on file systems that cannot lock."""

    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    run = RunDirectory(tmp_path)
    (tmp_path / "run.lock").touch()
    monkeypatch.setattr(fcntl, "flock", flock)
    if is_held:
        assert run.is_being_written()
    else:
        with pytest.raises(RunError, match=r"run\.lock .*No locks available; set output_root to a folder .* can lock files"):
            run.is_being_written()


def test_a_lock_that_cannot_be_read_is_no_answer(tmp_path):
    (tmp_path / "run.lock").symlink_to("run.lock")
    with pytest.raises(RunError, match=r"run\.lock .*symbolic links; set output_root to a folder that can be read"):
        RunDirectory(tmp_path).is_being_written()


def test_an_error_inside_the_block_frees_the_lock(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    with RunDirectory(tmp_path):
        pass


def test_writing_needs_the_lock_and_reading_does_not(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert run.status() is None
    assert not run.is_done()
    assert not run.is_being_written()
    assert not run.path.exists()
    with pytest.raises(RuntimeError, match="open the RunDirectory"):
        run.write_config("a: 1\n")


def test_status_says_who_what_and_how_far(tmp_path):
    run = RunDirectory(tmp_path / "deep" / "run")
    with run:
        run.write_config("a: ü\n")
        run.write_status("running", 3)
        first = run.status()
        run.write_status("failed", 7, error="Traceback: ü", seed=5, wall_seconds=1.25)
    status = run.status()
    assert (run.path / "config.yaml").read_text(encoding="utf-8") == "a: ü\n"
    assert {k: first[k] for k in ("state", "step", "error", "seed", "wall_seconds")} == {
        "state": "running",
        "step": 3,
        "error": None,
        "seed": None,
        "wall_seconds": None,
    }
    assert (status["state"], status["step"], status["error"]) == ("failed", 7, "Traceback: ü")
    assert (status["seed"], status["wall_seconds"]) == (5, 1.25)
    assert (status["pid"], status["host"]) == (os.getpid(), socket.gethostname())
    assert status["versions"]["torch"] == metadata.version("torch")
    assert status["versions"]["hydra"] == metadata.version("hydra-core")
    assert status["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert status["versions"]["gfn_vi"] is not None
    assert datetime.fromisoformat(status["started"]) <= datetime.fromisoformat(status["updated"])
    assert datetime.fromisoformat(status["updated"]).utcoffset().total_seconds() == 0
    assert sorted(p.name for p in run.path.iterdir() if p.name != "run.lock") == ["config.yaml", "status.json"]


def test_started_is_the_first_process_s(tmp_path):
    run = RunDirectory(tmp_path)
    with run:
        run.write_status("interrupted", 1)
    status = run.status() | {"started": "2020-01-01T00:00:00+00:00"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    with run:
        run.write_status("running", 1)
    assert run.status()["started"] == "2020-01-01T00:00:00+00:00"


def test_only_done_is_done(tmp_path):
    run = RunDirectory(tmp_path)
    with run:
        for state in ("running", "failed", "interrupted", "done"):
            run.write_status(state, 1)
            assert run.is_done() == (state == "done")


@pytest.mark.parametrize("damage", [b"", b'{"state": "done"', b"\xff\xfe\x00", b"[1]", b"\0" * 100])
def test_damaged_status_is_no_status(tmp_path, damage):
    (tmp_path / "status.json").write_bytes(damage)
    run = RunDirectory(tmp_path)
    assert run.status() is None
    assert not run.is_done()
    with run:
        run.write_status("running", 0)
    assert run.status()["state"] == "running"


def test_a_place_that_cannot_be_written_names_the_key(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/nowhere/run")):
        with pytest.raises(RunError, match=rf"cannot write {path}: .*output_root"):
            RunDirectory(path).open()


def test_a_full_disk_names_the_key_and_keeps_the_old_status(tmp_path):
    run = RunDirectory(tmp_path)
    with run:
        run.write_status("running", 1)
        (tmp_path / "status.json.tmp").symlink_to("/dev/full")
        with pytest.raises(RunError, match=r"status\.json: No space left on device; .*output_root"):
            run.write_status("running", 2)
        assert run.status()["step"] == 1
        assert not (tmp_path / "status.json.tmp").is_symlink()
    (tmp_path / "run.owner").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left on device; .*output_root") as error:
        run.open()
    (tmp_path / "run.owner").unlink()
    with run:
        pass
    del error  # its traceback kept the first lock alive: it had to be released to be free


def git(*arguments: str, cwd: Path) -> str:
    answer = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


COMMIT = """
from gfn_vi.runs.provenance import git_commit, has_local_changes
print(git_commit(), has_local_changes())
"""


def test_the_commit_is_this_checkout_s_and_nobody_else_s(tmp_path):
    """A checkout tells its commit; a package installed below somebody's repository does not tell theirs."""
    checkout, installed = tmp_path / "checkout", tmp_path / "checkout" / "venv" / "site-packages"
    for place in (checkout, installed):
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("core", "runs"):
            shutil.copytree(ROOT / "gfn_vi" / part, place / "gfn_vi" / part, ignore=ignore)
        shutil.copy(ROOT / "gfn_vi" / "__init__.py", place / "gfn_vi")
    git("init", "-q", cwd=checkout)
    git("add", "gfn_vi/__init__.py", cwd=checkout)
    git("-c", "user.email=a@b", "-c", "user.name=a", "commit", "-q", "-m", "x", cwd=checkout)
    commit = git("rev-parse", "HEAD", cwd=checkout)
    assert [told_in(place) for place in (checkout, installed)] == [f"{commit} False", "None None"]  # files beside it do not count
    (checkout / "gfn_vi" / "__init__.py").write_text("# changed\n")
    assert told_in(checkout) == f"{commit} True"


def told_in(place):
    done = subprocess.run([sys.executable, "-c", COMMIT], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_naming_a_run_does_not_import_torch():
    script = textwrap.dedent("""
        import sys
        from gfn_vi.runs.directory import RunDirectory, run_name
        RunDirectory("nowhere").is_done()
        print("torch" in sys.modules)
    """)
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_headline_stays_when_later_writes_do_not_give_it(tmp_path):
    """Also for another process, as a resumed run is one; a new headline takes its place."""
    path = tmp_path / "run"
    first, second = ({"metric": name, "direction": "minimize", "worst": "inf", "words": name} for name in ("jsd", "loss"))
    with RunDirectory(path) as directory:
        directory.write_status("running", 0)
        assert "headline" not in directory.status()
        directory.write_status("running", 0, headline=first)
        directory.write_status("interrupted", 3)
    with RunDirectory(path) as directory:
        directory.write_status("running", 3)
        assert directory.status()["headline"] == first
        directory.write_status("done", 9, headline=second)
    assert RunDirectory(path).status()["headline"] == second
