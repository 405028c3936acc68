"""Sweeps on a real Ray cluster of two nodes: what is killed or refused there, and that nothing is lost."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.clusters import assert_same_as_undisturbed, finished, kill_one, running, start, wait_for_no_training
from system.command import SMALL, train

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def ray() -> Iterator[dict[str, str]]:
    """The environment of its users."""
    with running("ray.sh") as environment:
        yield environment


def on(address: str) -> tuple[str, ...]:
    return ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")


def test_an_address_where_nobody_or_somebody_else_answers_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        closed = f"127.0.0.1:{silent.getsockname()[1]}"
        found = {closed: "nobody answers there", "head": "expected host:port", "127.0.0.1:x": "expected host:port"}
        for address, part in found.items():
            outcome = train(["-m", *SMALL, *on(address), "seed=0,1"], tmp_path)
            assert outcome.code == 2
            assert outcome.err.startswith(f"error: hydra.launcher.ray.init.address={address}: {part}")
            assert len(outcome.err.splitlines()) == 1
    assert not list(tmp_path.glob("outputs/*"))


def test_nothing_is_lost_when_a_worker_or_the_launcher_is_killed(ray: dict[str, str], tmp_path: Path) -> None:
    arguments = on(ray["RAY_ADDRESS"])
    assert_another_token_is_one_line(ray, tmp_path)
    first = start(arguments, tmp_path, ray)
    killed = kill_one(tmp_path, first)
    first.kill()
    first.communicate()
    wait_for_no_training(tmp_path)

    second = start(arguments, tmp_path, ray)
    kill_one(tmp_path, second)
    outcome = finished(second)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-2:] == ["8 runs: 8 done", "outputs/default"]
    assert "a worker died" in outcome.err
    assert "resuming at" in (killed / "run.log").read_text()
    assert json.loads((killed / "status.json").read_text())["state"] == "done"
    assert_same_as_undisturbed(tmp_path)


def assert_another_token_is_one_line(ray: dict[str, str], folder: Path) -> None:
    """Not a test of its own: it needs the cluster, and tests that run side by side would start another one."""
    wrong = folder / "token"
    wrong.write_text("0" * 64)
    outcome = train(["-m", *SMALL, *on(ray["RAY_ADDRESS"]), "seed=0,1"], folder, ray | {"RAY_AUTH_TOKEN_PATH": str(wrong)})
    assert outcome.code == 2
    assert "this Ray wants another token" in outcome.err
    assert len(outcome.err.splitlines()) == 1
