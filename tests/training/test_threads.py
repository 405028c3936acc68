"""The number of torch's threads: a fixed one stays, threads=0 follows free cores and what twice as many threads gain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from building import composed

from gfn_vi.core.errors import ConfigError
from gfn_vi.run import run
from gfn_vi.training import cores, threads
from gfn_vi.training.cores import FreeCores, available_cores, seconds_of_others
from gfn_vi.training.threads import LOOK_SECONDS, PAIRS, REST, Threads, remark_on_threads, torch_threads


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A machine with a clock of its own, on which an update takes what `seconds` says for a number of threads."""

    def __init__(self, n_cores: int, seconds: Callable[[int], float]) -> None:
        self.now, self.free, self.seconds, self.looks = 0.0, float(n_cores), seconds, 0
        self.threads = Threads(n_cores, self.look, lambda: self.now)

    def look(self) -> float:
        self.looks += 1
        return self.free

    def train(self, n_updates: int) -> list[int]:
        """Return the number of threads of each update."""
        used = []
        for _ in range(n_updates):
            used.append(self.threads.number)
            self.now += self.seconds(self.threads.number)
            self.threads.after_update()
        return used


def test_threads_are_doubled_while_that_pays() -> None:
    machine = Machine(12, lambda n: {1: 4.0, 2: 2.5, 4: 1.5, 8: 1.49, 12: 9.0}[n])
    used = machine.train(1 + 6 * PAIRS + 50)
    assert used[: 1 + 6 * PAIRS] == [1, *[1, 2] * PAIRS, *[2, 4] * PAIRS, *[4, 8] * PAIRS]
    assert set(used[1 + 6 * PAIRS :]) == {4}, "8 threads gain less than 5 per cent; 12 are not tried"
    assert torch.get_num_threads() == 4


def test_the_last_doubling_ends_at_the_free_cores() -> None:
    machine = Machine(3, lambda n: 1 / n)
    assert machine.train(1 + 4 * PAIRS + 3)[-3:] == [3, 3, 3]


def test_a_busy_machine_gets_one_thread_and_no_trial() -> None:
    machine = Machine(2, lambda n: 0.1 if n == 1 else 10.0)
    machine.free = 1.7
    assert set(machine.train(200)) == {1}
    assert machine.looks == pytest.approx(200 * 0.1 / LOOK_SECONDS, abs=5)


def test_threads_are_given_up_when_others_come_and_taken_again_when_they_leave() -> None:
    machine = Machine(4, lambda n: 0.1 / n)
    assert machine.train(40)[-1] == 4
    machine.free = 2.4
    machine.train(int(LOOK_SECONDS / 0.025) + 1)
    assert set(machine.train(20)) == {2}
    machine.free = 0.0
    machine.train(int(LOOK_SECONDS / 0.05) + 1)
    assert set(machine.train(20)) == {1}
    machine.free = 4.0
    machine.train(int(LOOK_SECONDS / 0.1) + 1)
    assert set(machine.train(20)) == {4}, "without another trial"


def test_a_trial_ends_as_soon_as_its_cores_are_taken() -> None:
    machine = Machine(2, lambda n: 1.0 if n == 1 else 40.0)
    assert machine.train(3) == [1, 1, 2]
    machine.free = 1.0
    assert set(machine.train(10)) <= {1}


def test_what_does_not_pay_is_tried_seldom() -> None:
    machine = Machine(2, lambda n: 1.0 if n == 1 else 2.0)
    used = machine.train(2000)
    assert 2 * PAIRS <= used.count(2) <= 2000 * PAIRS / (REST * PAIRS) + PAIRS
    assert machine.now < 1.04 * 2000


def test_measurements_between_updates_do_not_decide() -> None:
    of_two_threads = iter([60.0, 60.0, 0.6, 0.6, 0.6])
    machine = Machine(2, lambda n: 1.0 if n == 1 else next(of_two_threads, 0.6))
    assert machine.train(2 + 2 * PAIRS)[-1] == 2, "two of five updates with two threads were followed by a measurement"


def test_nobody_knows_the_free_cores_where_the_system_does_not_say() -> None:
    machine = Machine(2, lambda n: 1 / n)
    unknown = Threads(2, lambda: None, lambda: machine.now)
    machine.threads = unknown
    assert machine.train(20)[-1] == 2


def test_a_resumed_run_begins_with_its_number_where_the_cores_are_free() -> None:
    for free, wanted, expected in ((4.0, 4, 4), (4.0, 2, 2), (2.0, 4, 2), (0.3, 4, 1), (4.0, 16, 4)):
        machine = Machine(4, lambda n: 1.0)
        machine.free = free
        machine.threads.start(wanted)
        assert machine.threads.number == torch.get_num_threads() == expected, (free, wanted)
        torch.set_num_threads(1)


def test_a_run_tells_its_threads_of_every_update_and_resumes_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def after_update(self: Threads) -> None:
        told.append("update")
        self.wanted = 7

    monkeypatch.setattr(Threads, "after_update", after_update)
    monkeypatch.setattr(Threads, "start", lambda self, wanted: told.append(f"start with {wanted}"))
    short = [
        "target.side=3",
        "sampler.hidden=[4]",
        "trainer.batch_size=8",
        "trainer.n_trajectories=32",
        "pictures=false",
        f"output_root={tmp_path}",
    ]
    run(composed(*short, "checkpoint.pause_after=16"))
    assert told == ["update"] * 2
    run(composed(*short))
    assert told == ["update"] * 2 + ["start with 7"] + ["update"] * 2


def test_a_fixed_number_stays_and_is_restored() -> None:
    torch.set_num_threads(2)
    with torch_threads(3) as fixed:
        fixed.start(1)
        for _ in range(100):
            fixed.after_update()
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2
    with torch_threads(0, "cuda:0") as one:
        one.after_update()
        assert (one.most, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("allowed", [1, 2])
def test_no_more_than_the_launcher_allows(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    torch.set_num_threads(allowed)
    with torch_threads(0) as following:
        assert (following.most, torch.get_num_threads()) == (allowed, 1)


def test_what_is_no_number_of_threads_is_refused_and_too_many_are_remarked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (-1, 1.5, True, "two"):
        with pytest.raises(ConfigError, match=r"^threads=.*whole number >= 0"), torch_threads(wrong):  # type: ignore[arg-type]
            pass
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    assert remark_on_threads(4) == remark_on_threads(0) == []
    assert remark_on_threads(5)[0].startswith("threads=5 on 4 available cores")


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 6),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "400000 100000"}, 3),
        ("0::/not/seen\n", {"cpu.max": "400000 100000"}, 4),
        (
            "4:cpu,cpuacct:/\n1:name=systemd:/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "500000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            5,
        ),
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 6),
        ("4:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}, 6),
        ("0::/\n", {"cpu.max": "damaged"}, 6),
        (None, {}, 6),
    ],
)
def test_quotas_of_containers(
    groups: str | None, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "allowed_cores", lambda: set(range(6)))
    for name, text in files.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(f"{text}\n")
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    assert available_cores(tmp_path) == expected


def test_others_are_counted_on_the_cores_of_this_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed_cores", lambda: {1, 3})
    tick = os.sysconf("SC_CLK_TCK")
    line = "cpu{} 1000 200 30 99999 99999 4 5 600 7 8\n"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("".join(line.format(core) for core in ("", 0, 1, 2, 3, 13)) + "intr 5\n")
    own = sum(os.times()[:4])
    assert seconds_of_others(tmp_path) == pytest.approx(2 * 1839 / tick - own, abs=0.1)
    assert seconds_of_others(tmp_path / "nowhere") is None


def test_free_cores_are_those_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    now, others = [10.0], [100.0]
    monkeypatch.setattr(cores.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cores, "seconds_of_others", lambda: others[0])
    monkeypatch.setattr(cores, "allowed_cores", lambda: {0, 1, 2, 3})
    free = FreeCores()
    now[0], others[0] = 12.0, 103.0
    assert free.look() == pytest.approx(2.5)
    now[0], others[0] = 13.0, 102.9  # ticks are counted at different times
    assert free.look() == 4.0
    others[0] = None  # type: ignore[call-overload]
    assert free.look() is None
