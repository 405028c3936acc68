"""Mirrors of the metrics: real wandb and TensorBoard files, read back; what happens without package, key or network."""

from __future__ import annotations

import http.server
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mirror_files import offline_runs, read_tensorboard

from gfn_vi.core.errors import ConfigError
from gfn_vi.runs.records import Record
from gfn_vi.runs.sinks import TensorboardSink, WandbSink, flattened

ROOT = Path(__file__).resolve().parents[2]
KEY = "a" * 40
METRICS = {"loss": [1.5, float("nan")], "jsd": [0.25, 0.75]}
EXPECTED = {
    "trajectories": 80,
    "loss": math.nan,
    "loss/replica_0": 1.5,
    "loss/replica_1": math.nan,
    "jsd": 0.5,
    "jsd/replica_0": 0.25,
    "jsd/replica_1": 0.75,
}


def test_one_replica_has_plain_names():
    assert flattened({"loss": [2.0]}) == {"loss": 2.0}


def test_several_replicas_have_the_mean_of_all_which_hides_none_that_is_not_finite():
    flat = flattened(METRICS | {"bad": [math.inf, math.nan], "far": [1.0, -math.inf]})
    assert flat["far"] == -math.inf
    assert {name: flat[name] for name in EXPECTED if name != "trajectories"} == pytest.approx(
        {name: value for name, value in EXPECTED.items() if name != "trajectories"}, nan_ok=True
    )
    assert math.isnan(flat["bad"])
    assert flat["bad/replica_0"] == math.inf


RUN = """
import json, logging, sys, time
logging.basicConfig(stream=sys.stderr, level="INFO", format="LOG %(levelname)s %(message)s")
from gfn_vi.runs import sinks
sinks.CONNECT_SECONDS, sinks.FINISH_SECONDS = 3.0, 5.0
arguments = json.loads(sys.argv[1])
begin = time.monotonic()
from gfn_vi.runs.records import Record
sink = sinks.WandbSink(**arguments["sink"])
seconds = time.monotonic() - begin
sink.restore([Record(step, 10 * step, arguments["metrics"]) for step in arguments["restored"]])
for step in arguments["steps"]:
    sink.write(step, 10 * step, arguments["metrics"])
sink.close(failed=arguments["failed"])
print("SECONDS", seconds)
"""


def run_wandb(
    directory: Path,
    mode: str = "offline",
    steps: tuple[int, ...] = (7, 8),
    failed=False,
    restored=(),
    about=None,
    **environment: str,
):
    """Run a sink in a process without wandb's variables, home or terminal; returns (stdout, stderr, seconds)."""
    sink = {
        "directory": str(directory),
        "name": "tb-mlp-" + "x" * 80 + "-01234567",
        "config": {"seed": 3, "objective": {"lr": 0.001, "clip": None}, "rates": [1, 2.5]},
        "project": "project",
        "mode": mode,
    } | (about or {})
    arguments = json.dumps({"sink": sink, "steps": steps, "restored": restored, "failed": failed, "metrics": METRICS})
    home = directory / "home"
    home.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and not k.lower().endswith("_proxy")}
    begin = time.monotonic()
    shown = subprocess.run(
        [sys.executable, "-c", RUN, arguments],
        cwd=ROOT,
        env=clean | {"HOME": str(home), "NETRC": str(home / "netrc"), "TERM": "xterm"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout, shown.stderr, time.monotonic() - begin


def test_wandb_offline_mirrors_what_was_recorded_and_says_nothing(tmp_path):
    stdout, stderr, _ = run_wandb(tmp_path)
    assert stderr == ""
    assert stdout.startswith("SECONDS")
    (content,) = offline_runs(tmp_path)
    assert content["history"] == [
        pytest.approx({"_step": 7, **EXPECTED, "trajectories": 70}, nan_ok=True),
        pytest.approx({"_step": 8, **EXPECTED}, nan_ok=True),
    ]
    assert (content["name"], content["project"]) == ("tb-mlp-" + "x" * 80 + "-01234567", "project")
    assert {k: v for k, v in content["config"].items() if k != "_wandb"} == {
        "seed": 3,
        "objective": {"lr": 0.001, "clip": None},
        "rates": [1, 2.5],
    }
    assert content["exit_code"] == 0


def test_a_resumed_run_is_one_offline_copy_with_the_same_wandb_id_and_each_step_once(tmp_path):
    """The first process was killed after step 3, whose checkpoint was made at step 2: the second one repeats step 3."""
    run_wandb(tmp_path, steps=(1, 2, 3), failed=True)
    (first,) = offline_runs(tmp_path)
    time.sleep(1.1)  # wandb names folders by the second
    _, stderr, _ = run_wandb(tmp_path, restored=(1, 2), steps=(3, 4))
    assert stderr == ""
    (second,) = offline_runs(tmp_path)
    assert first["id"] == second["id"]
    assert (first["exit_code"], second["exit_code"]) == (1, 0)
    assert [row["_step"] for row in second["history"]] == [1, 2, 3, 4]


def test_wandb_lists_a_run_by_group_tags_job_type_and_notes_and_draws_over_trajectories(tmp_path):
    about = {"group": "g", "tags": ["paper", "b c", "paper"], "job_type": "train", "notes": "why\nnot"}
    run_wandb(tmp_path, steps=(1,), about=about)
    (content,) = offline_runs(tmp_path)
    assert {key: content[key] for key in about} == about | {"tags": ["paper", "b c"]}
    assert content["step_metric"] == {"trajectories": "", "*": "trajectories"}


def test_wandb_takes_from_the_environment_what_is_not_given_and_the_id_of_its_agent(tmp_path):
    agent = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "abc"}
    run_wandb(tmp_path, steps=(1,), WANDB_RUN_GROUP="g", WANDB_TAGS="x,y", WANDB_NOTES="n", **agent)
    (content,) = offline_runs(tmp_path)
    assert (content["group"], content["tags"], content["notes"], content["id"]) == ("g", ["x", "y"], "n", "abc")


def test_a_tag_that_wandb_would_refuse_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^logger\.tags=: expected tags of 1 to 64 characters"):
        WandbSink(tmp_path, "name", {}, tags=["good", ""])


def assert_fell_back(directory: Path, stderr: str, reason: str) -> None:
    (line,) = stderr.splitlines()
    assert line.startswith("LOG WARNING wandb cannot go online (")
    assert reason in line
    assert f"offline in {directory}/wandb" in line
    (content,) = offline_runs(directory)
    assert [row["_step"] for row in content["history"]] == [7, 8]


def test_wandb_online_without_a_key_is_offline_with_one_line(tmp_path):
    _, stderr, seconds = run_wandb(tmp_path, mode="online")
    assert_fell_back(tmp_path, stderr, "No API key configured")
    assert seconds < 20


def test_wandb_online_never_asks_for_a_key_on_a_terminal(tmp_path):
    """With a terminal on all three streams nothing is read from it, and the run goes on offline."""
    import pty

    sink = {"directory": str(tmp_path), "name": "n", "config": {}, "mode": "online"}
    arguments = json.dumps({"sink": sink, "steps": [7, 8], "restored": [], "failed": False, "metrics": METRICS})
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, arguments],
        cwd=ROOT,
        env=clean | {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        assert process.wait(timeout=60) == 0
        output = os.read(ours, 100_000).decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    warning, seconds = output.splitlines()
    assert "No API key configured" in warning
    assert seconds.startswith("SECONDS")
    assert len(offline_runs(tmp_path)) == 1


def test_wandb_online_without_network_is_offline_with_one_line(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: the connection is refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        _, stderr, seconds = run_wandb(tmp_path, mode="online", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert_fell_back(tmp_path, stderr, f"no answer from {url}: [Errno 111] Connection refused")
    assert seconds < 20


def test_wandb_online_with_a_silent_server_is_offline_within_seconds(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        _, stderr, seconds = run_wandb(tmp_path, mode="online", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert_fell_back(tmp_path, stderr, f"no answer from {url}")
    assert seconds < 20  # of which CONNECT_SECONDS = 3


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers, but is no wandb server."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_wandb_online_with_a_server_that_refuses_is_offline_with_one_line(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        _, stderr, seconds = run_wandb(tmp_path, mode="online", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    finally:
        server.shutdown()
        server.server_close()
    assert_fell_back(tmp_path, stderr, "404")
    assert seconds < 30


def test_wandb_disabled_writes_nothing(tmp_path):
    _, stderr, _ = run_wandb(tmp_path, mode="disabled")
    assert stderr == ""
    assert not list(tmp_path.rglob("*.wandb"))


def test_an_unknown_mode_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^logger\.mode=sometimes: expected one of offline, online, disabled"):
        WandbSink(tmp_path, "name", {}, mode="sometimes")


MISSING = """
import sys
sys.modules[sys.argv[2].split(".")[0]] = None
from gfn_vi.core.errors import ConfigError
from gfn_vi.runs import sinks
try:
    sinks.WandbSink(sys.argv[1], "n", {}) if sys.argv[2] == "wandb" else sinks.TensorboardSink(sys.argv[1], {})
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["wandb", "tensorboard"])
def test_a_missing_package_names_logger_and_the_extra(tmp_path, package):
    command = [sys.executable, "-c", MISSING, str(tmp_path), package]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.stdout.startswith(f"logger={package}: "), shown.stderr
    assert f'pip install "gfn_vi[{package}]"' in shown.stdout


def test_a_folder_named_wandb_is_not_the_package(tmp_path):
    """Runs leave folders of that name; where wandb is not installed, one must not be taken for it."""
    (tmp_path / "wandb").mkdir()
    script = f"""
import sys
sys.path[:] = [{str(tmp_path)!r}, {str(ROOT)!r}] + [p for p in sys.path if "site-packages" not in p and p]
from gfn_vi.core.errors import ConfigError
from gfn_vi.runs.records import Record
from gfn_vi.runs.sinks import WandbSink
import wandb
try:
    WandbSink({str(tmp_path)!r}, "n", {{}})
except ConfigError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'pip install "gfn_vi[wandb]"' in shown.stdout, shown.stderr


def test_importing_the_sinks_imports_neither_package():
    script = "import sys, gfn_vi.runs.sinks; print([m for m in ('torch', 'wandb', 'tensorboard') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_tensorboard_mirrors_what_was_recorded(tmp_path):
    sink = TensorboardSink(tmp_path, {})
    sink.write(7, 70, {"loss": METRICS["loss"]})
    sink.write(7, 70, {"jsd": METRICS["jsd"]})
    sink.write(8, 80, METRICS)
    written = read_tensorboard(tmp_path)  # before close: a killed process loses nothing
    sink.close(failed=False)
    sink.close(failed=False)
    assert written.keys() == EXPECTED.keys() - {"trajectories"}
    assert written["jsd"] == [(70, 0.5), (80, 0.5)]
    assert math.isnan(written["loss/replica_1"][1][1])


def test_tensorboard_has_each_record_of_a_resumed_run_once(tmp_path):
    """Killed after step 4, with a checkpoint of step 2; whatever the second of their names, no file contradicts another one."""
    first = TensorboardSink(tmp_path, {})
    for step in (1, 2, 3, 4):
        first.write(step, 10 * step, {"loss": [float(step)]})
    first.close(failed=True)
    second = TensorboardSink(tmp_path, {})
    second.restore([Record(1, 10, {"loss": [1.0]}), Record(2, 20, {"loss": [2.0]})])
    for step in (3, 4, 5):
        second.write(step, 10 * step, {"loss": [10.0 * step]})
    second.close(failed=False)
    assert read_tensorboard(tmp_path)["loss"] == [(10, 1.0), (20, 2.0), (30, 30.0), (40, 40.0), (50, 50.0)]


def test_tensorboard_shows_pictures_tables_and_hyperparameters(tmp_path):
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    Image.new("RGB", (5, 3)).save(tmp_path / "samples.png")
    (tmp_path / "found.csv").write_text("name,mass\na|b,0.5\n")
    (tmp_path / "metrics.csv").write_text(
        "step,trajectories,reward_calls,wall_seconds,replica,metric,value\n1,10,0,0,0,jsd,0.25\n"
    )
    sink = TensorboardSink(tmp_path, {"choices": {"target": "hypergrid"}, "seed": 3, "threads": 1, "tuning_seeds": [1]})
    sink.write(1, 10, {"jsd": [0.25]})
    sink.show(tmp_path)
    sink.close(failed=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (image,) = events.Images("pictures/samples")
    assert (image.step, image.width, image.height) == (10, 5, 3)
    assert image.encoded_image_string == (tmp_path / "samples.png").read_bytes()
    texts = [
        events.Tensors(f"tables/{name}/text_summary")[0].tensor_proto.string_val[0].decode() for name in ("final_values", "found")
    ]
    assert texts == ["| metric | value |\n| --- | --- |\n| jsd | 0.25 |", "| name | mass |\n| --- | --- |\n| a\\|b | 0.5 |"]
    data = plugin_data_pb2.HParamsPluginData.FromString(
        events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    )
    found = {key: value.string_value or value.number_value for key, value in data.session_start_info.hparams.items()}
    assert found == {"choices.target": "hypergrid", "seed": 3, "tuning_seeds": "[1]"}
