"""The progress bar as a person sees it, through a pseudo-terminal; and as nobody does, through a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import logging, sys, time
logging.basicConfig(stream=sys.stderr, level="INFO", format="LOG %(message)s")
from gfn_vi.training.progress import ProgressBar
enabled = {"auto": None, "on": True, "off": False}[sys.argv[1]]
seconds = float(sys.argv[2])
bar = ProgressBar(10_000, "tb-mlp-seed0 [bold]", enabled, "jsd")
bar.start(initial_trajectories=5_000)
updates = 0
begin = time.monotonic()
while time.monotonic() - begin < seconds:
    seen = 5_000 + int(2_000 * (time.monotonic() - begin))
    if bar.due():
        updates += 1
        bar.update(seen, 0.123456, 0.0625)
    if updates == 3:
        logging.info("in between")
        print("PRINTED", flush=True)
        updates += 100
    time.sleep(0.001)
bar.update(10_000, 0.5, float("nan"))
bar.stop()
bar.stop()
logging.info("after")
time.sleep(0.3)
given_back = logging.getLogger().handlers[0].stream is sys.stderr is sys.__stderr__
print("UPDATES", updates, "RICH", "rich" in sys.modules, "DUE", bar.due(), "GIVEN BACK", given_back)
"""


def on_terminal(columns: int = 110, enabled: str = "auto", stdout: int | None = None, seconds: float = 0.7) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, enabled, str(seconds)],
        cwd=ROOT,
        env=environment | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says EIO when the other side is closed
            break
        if not chunk:
            break
        output += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0, output.decode()
    return output.decode()


def frames(output: str) -> list[str]:
    """What stood on the line each time, without colors."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    return [part.rstrip() for part in re.split(r"[\r\n]+", plain) if part.strip()]


@pytest.fixture(scope="module")
def shown() -> list[str]:
    return frames(on_terminal(seconds=2.0))


def bars(shown: list[str]) -> list[str]:
    return [frame for frame in shown if "tb-mlp" in frame]


def test_a_person_sees_share_loss_jsd_speed_and_time_left(shown):
    last = bars(shown)[-3]  # of the loop; then come the end and the stop
    assert re.match(r"tb-mlp-seed0 \[bold\] +[━╸╺]+ +\d\d% loss 0\.1235  jsd 0\.0625  traj/s", last), last
    assert re.search(r"0:00:0\d$", last), last
    # Trajectories of an earlier process are no speed of this one.
    speed = float(re.search(r"traj/s ([\d,]+)", last).group(1).replace(",", ""))
    assert speed == pytest.approx(2_000, rel=0.3)


def test_it_starts_where_the_earlier_process_stopped_and_ends_at_the_end(shown):
    assert " 50%" in bars(shown)[0]
    assert "100% loss 0.5  jsd nan" in bars(shown)[-1]


def test_it_is_drawn_about_five_times_a_second(shown):
    updates = int(re.search(r"UPDATES (\d+)", shown[-1]).group(1)) - 100
    assert 3 <= updates <= 10
    assert len(bars(shown)) <= updates + 8


def test_log_lines_stand_on_lines_of_their_own_during_and_after(shown):
    assert "LOG in between" in shown
    assert "LOG after" in shown
    assert "PRINTED" in shown
    assert shown[-1].endswith("RICH True DUE False GIVEN BACK True")


@pytest.mark.parametrize("columns", [40, 80])
def test_it_fits_on_one_line_of_a_narrow_terminal(columns):
    shown = frames(on_terminal(columns))
    assert max(map(len, shown[:-1])) <= columns
    assert "100%" in shown[-3]


def test_what_is_printed_into_a_pipe_stays_there():
    reading, writing = os.pipe()
    seen = on_terminal(stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read().startswith("PRINTED\nUPDATES")
    assert "PRINTED" not in seen
    assert "100%" in seen


def piped(enabled: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, enabled, "0.7"], cwd=ROOT, capture_output=True, text=True, check=True)


def test_it_is_silent_and_free_in_a_pipe():
    result = piped("auto")
    assert result.stderr == "LOG after\n"
    assert result.stdout == "UPDATES 0 RICH False DUE False GIVEN BACK True\n"


def test_it_is_silent_on_a_terminal_when_switched_off():
    assert frames(on_terminal(enabled="off")) == ["LOG after", "UPDATES 0 RICH False DUE False GIVEN BACK True"]


def test_it_can_be_forced_into_a_pipe():
    shown = bars(frames(piped("on").stderr))
    assert any("loss 0.1235" in frame for frame in shown)
    assert "100% loss 0.5" in shown[-1]
