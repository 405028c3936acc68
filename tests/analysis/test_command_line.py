"""Hints name a command that exists where they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gfn_vi.commands import plot, reproduce, sample, send
from gfn_vi.core import command_line
from gfn_vi.core.command_line import command

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("started", "in_checkout", "expected"),
    [
        (CHECKOUT / "scripts/figure.py", True, "python scripts/train.py"),
        (CHECKOUT / "scripts/figure.py", False, "python scripts/train.py"),
        (CHECKOUT / "gfn_vi/commands/train.py", True, "python scripts/train.py"),  # python -m, a worker
        (CHECKOUT / "gfn_vi/commands/train.py", False, "gfn-vi-train"),
        ("/usr/bin/gfn-vi-figure", True, "gfn-vi-train"),
        ("/usr/bin/gfn-vi-figure", False, "gfn-vi-train"),
        ("/elsewhere/scripts/figure.py", False, "gfn-vi-train"),
    ],
)
def test_the_command_is_named_as_this_one_was_started(
    started: Path | str, in_checkout: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [str(started)])
    monkeypatch.chdir(CHECKOUT if in_checkout else tmp_path)
    assert command("train") == expected


def test_an_installed_package_has_no_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beside the package is taken for a checkout, also not a user's own folder of scripts."""
    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(command_line, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "scripts/mine.py")])
    monkeypatch.chdir(tmp_path)
    assert command("train") == "gfn-vi-train"


@pytest.mark.parametrize(
    ("main", "required"),
    [(plot.main, "folder"), (send.main, "folder"), (sample.main, "run"), (reproduce.main, "experiment")],
)
def test_only_what_is_required_is_called_so(
    main: Callable[[list[str]], int], required: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().err.endswith(f"required: {required}\n")
