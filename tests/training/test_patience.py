"""What takes long says what it is doing, once; what is too large is known before anything is listed or drawn."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from building import bumpy, composed
from torch import Tensor

from gfn_vi import fitting
from gfn_vi.build import build_trainer
from gfn_vi.build_target import build_target
from gfn_vi.core import patience
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.patience import told_if_slow
from gfn_vi.targets.base import BaseTarget
from gfn_vi.targets.cells import CellsTarget
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.targets.ising import Ising


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, and nothing was told before."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "_told", set())


def test_only_what_is_slow_is_told_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    with told_if_slow("counting 3 sheep"):
        pass
    threading.Event().wait(0.06)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        with told_if_slow("counting 3 sheep"):
            threading.Event().wait(0.06)
    assert capsys.readouterr().err == "counting 3 sheep ...\n"
    with pytest.raises(KeyboardInterrupt), told_if_slow("counting 4 sheep"):
        raise KeyboardInterrupt
    threading.Event().wait(0.06)
    assert capsys.readouterr().err == ""


class Counting(CellsTarget):
    """Bits whose number of states nobody says: moves are followed, and counted."""

    n_states: Any = None
    enumerable = BaseTarget.enumerable  # type: ignore[assignment]
    state_graph = BaseTarget.state_graph  # type: ignore[assignment]
    asked = 0

    def __init__(self) -> None:
        super().__init__(24, 2, False, 1000)

    def forward_mask(self, states: Tensor) -> Tensor:
        Counting.asked += len(states.flatten(0, -2))
        return super().forward_mask(states)

    def log_reward(self, states: Tensor) -> Tensor:
        return torch.zeros(states.shape[:-1], dtype=torch.float64)


def test_listing_says_how_large_the_space_is(capsys: pytest.CaptureFixture[str]) -> None:
    Hypergrid(2, 300, 0.1, bumpy, 10**6).state_graph()
    assert "listing 90,000 states of Hypergrid ...\n" in capsys.readouterr().err
    Ising(4, 0.4, 0.0, "free", "raster", 10**6).state_graph()
    assert "listing 131,071 states of Ising ...\n" in capsys.readouterr().err
    target = Counting()
    assert target._listing == "listing the states of Counting, up to 1,000"


def test_what_is_too_large_to_be_listed_is_found_out_once_for_all_runs() -> None:
    overrides = ("target=ising", "trainer.n_trajectories=64", "evaluation.n_samples=2")
    config = composed(*overrides)
    config.target = {"_target_": f"{__name__}.Counting"}
    config.sampler.hidden = [4]
    Counting.asked = 0
    remarks = build_trainer(config)[1]
    assert Counting.asked > 500
    Counting.asked, config.seed = 0, 1
    target = build_target(config, torch.device("cpu"))
    assert not target.enumerable  # type: ignore[attr-defined]
    assert build_trainer(config)[1] == remarks
    assert Counting.asked == 0


@pytest.mark.parametrize(
    ("key", "overrides"),
    [
        ("evaluation.n_samples", ("trainer.batch_size=1",)),
        ("trainer.batch_size", ("trainer.batch_size=1000", "evaluation.n_samples=2")),
    ],
)
def test_trajectories_that_need_more_memory_than_is_free_are_refused(
    key: str, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed("target=ising", "target.side=40", "sampler.hidden=[4]", "evaluation.n_samples=1000", *overrides)
    needed = 2 * 1000 * 1602 * 1600 * 8
    monkeypatch.setattr(fitting, "free_bytes", lambda: needed - 1)
    with pytest.raises(ConfigError, match=rf"^{key}=1000: .*1,601 steps through states of 1,600 numbers.* need 41 GB"):
        build_trainer(config)
    for free in (needed, None):
        monkeypatch.setattr(fitting, "free_bytes", lambda free=free: free)
        build_trainer(config)
