"""Terminals and names that are not UTF-8: nothing ends a run but its own fault, and files read back as they were written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.runs.directory import run_directory
from gfn_vi.terminal.arguments import answers_in_one_line
from gfn_vi.terminal.guarded import guarded
from gfn_vi.terminal.streams import check_words, prepare_streams
from system.command import SCRIPT, SMALL

Capture = pytest.CaptureFixture[str]
TINY = (*SMALL, "trainer.n_trajectories=32", "seed=3")
NAME = "実験é"
ASCII_FILES = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def trained(folder: Path, *words: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A run that a shell starts, with redirections."""
    line = f'exec "$@" {redirect}'
    command = ["sh", "-c", line, "sh", sys.executable, str(SCRIPT), *TINY, *words]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, check=False)


def states(folder: Path) -> list[str]:
    return [json.loads(path.read_bytes())["state"] for path in folder.glob("outputs/*/*/status.json")]


def test_a_terminal_of_ascii_with_names_beyond_it(tmp_path: Path) -> None:
    """Of an experiment and of a user's reward in a module of such a name; 20 columns, and a bar."""
    (tmp_path / "größe.py").write_text(
        "from gfn_vi.targets.grids.hypergrid import Hypergrid\n\n\nclass Länge(Hypergrid):\n"
        "    def log_reward(self, states):\n        return super().log_reward(states) + 1e300 * (states.sum(-1) >= 3).double()\n",
        encoding="utf-8",
    )
    words = [f'experiment_name="{NAME}"', 'target._target_="größe.Länge"', "progress=true"]
    done = trained(tmp_path, *words, PYTHONIOENCODING="ascii", COLUMNS="20", TERM="dumb")
    assert done.returncode == 1, done.stderr
    assert rb"outputs/\u5b9f\u9a13\xe9/" in done.stdout
    # 20 columns: a line may break anywhere
    assert rb"log R of gr\xf6\xdfe.L\xe4nge is".replace(b" ", b"") in b"".join(done.stderr.split())
    assert b"Traceback" not in done.stderr
    (log,) = tmp_path.glob(f"outputs/{NAME}/*/run.log")
    assert "log R of größe.Länge is" in log.read_text(encoding="utf-8")
    assert "größe.Länge" in json.loads((log.parent / "status.json").read_bytes())["error"]
    assert states(tmp_path) == ["done"]


def test_without_a_terminal_a_run_is_done_and_its_files_are_whole(tmp_path: Path) -> None:
    """A closed stream's number must not become that of metrics.csv."""
    assert trained(tmp_path, redirect=">&- 2>&-").returncode == 0
    assert states(tmp_path) == ["done"]
    (metrics,) = tmp_path.glob("outputs/*/*/metrics.csv")
    lines = metrics.read_text(encoding="utf-8").splitlines()
    assert {len(line.split(",")) for line in lines} == {7}


def test_names_that_python_cannot_write_here_are_refused(tmp_path: Path) -> None:
    done = trained(tmp_path, f'experiment_name="{NAME}"', **ASCII_FILES)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(rb"error: experiment_name=")
    assert line.endswith(b": it is not text in ASCII: set PYTHONUTF8=1, or LC_ALL to a locale of UTF-8")
    assert not (tmp_path / "outputs").exists()


def test_bytes_that_are_no_text_are_refused() -> None:
    check_words(["a=b", NAME])
    with pytest.raises(ConfigError, match=r"^experiment_name=a\\xff: it is not text in UTF-8: type it in UTF-8$"):
        check_words(["seed=1", "experiment_name=a\udcff"])


def test_an_encoding_of_file_names_that_lacks_a_character_is_said() -> None:
    config = {"output_root": "outputs", "experiment_name": "a\ud800", "seed": 0}
    with pytest.raises(ConfigError, match=r"names of files are written in UTF-8 here: set PYTHONUTF8=1"):
        run_directory(config)


def test_streams_keep_their_own_way_of_telling_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        open(tmp_path / "out", "w", encoding="latin-1") as out,
        open(tmp_path / "err", "w", encoding="ascii", errors="replace") as err,
    ):
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        prepare_streams()
        print("é 中")
        print("é 中", file=sys.stderr)
    assert (tmp_path / "out").read_bytes() == b"\xe9 \\u4e2d\n"
    assert (tmp_path / "err").read_bytes() == b"? ?\n"


def test_a_name_that_the_file_system_does_not_take_is_said(tmp_path: Path) -> None:
    config = {"output_root": str(tmp_path), "experiment_name": "\u4e2d" * 100, "seed": 0}
    with pytest.raises(
        RunError, match=r"File name too long; set experiment_name and output_root to names that the file system takes$"
    ):
        run_directory(config)


def test_a_yaml_in_another_encoding_is_told_as_such(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with pytest.raises(UnicodeDecodeError) as raised:
        b"# gr\xf6\xdfe".decode()

    def task() -> None:
        raise raised.value

    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit) as ended:
        guarded(task)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: a file of the configuration is not UTF-8 (byte 0xf6 after '# gr'): save it as UTF-8\n"
    )


def test_a_folder_whose_name_is_no_text_is_told_as_such(capsys: Capture) -> None:
    @answers_in_one_line
    def main(folder: str) -> int:
        folder.encode()
        return 0

    assert main("outputs/a") == 0
    assert main("outputs/a\udcff") == 2
    assert capsys.readouterr().err == (
        "error: a name is no text in UTF-8 (...outputs/a\\udcff): rename the folder, or start the command inside of it\n"
    )
