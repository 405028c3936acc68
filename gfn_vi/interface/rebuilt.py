"""The target and the sampler of a run, built from its stored configuration, with the parameters of its checkpoint.

Parameters are tensors: nothing that a checkpoint holds is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.interface.apart import user_modules
from gfn_vi.interface.imported import code_as_imported
from gfn_vi.interface.stored import StoredRun
from gfn_vi.runs.checkpoint import load_checkpoint
from gfn_vi.runs.directory import identity_digest, identity_of
from gfn_vi.runs.files import CHECKPOINT, CONFIG
from gfn_vi.runs.identity import of_the_run

if TYPE_CHECKING:
    from gfn_vi.training.trainer import Trainer


def checkpoint_of(stored: StoredRun) -> dict[str, Any]:
    """Return the newest state of the run's training. Raises RunError where it is that of another run, or cannot be read."""
    state = load_checkpoint(stored.path / CHECKPOINT)
    path = stored.path / CHECKPOINT
    if state is None:
        raise RunError(f"there is no {path} any more: train the run again")
    own = identity_digest(of_the_run(stored.config))
    known = {own, identity_of(stored.path).name} if stored.is_of_another_release else {own}  # which may name runs otherwise
    if state.get("run", own) not in known:
        found = f"is of run {state['run']}, and {CONFIG} beside it is that of {own}"
        raise RunError(f"{path} {found}: restore the one that was copied or edited, or train the run again")
    return state


def rebuilt(stored: StoredRun, device: str) -> tuple[Any, Any]:
    """Return the target and the sampler on a device. Raises ConfigError or RunError in one line where they cannot be built."""
    from gfn_vi.build import build_objective, build_sampler, build_target, resolve_device, resolve_dtype
    from gfn_vi.core.types import Need

    where = resolve_device(device)
    state = checkpoint_of(stored)
    config = OmegaConf.create(stored.config)
    try:
        with user_modules(), code_as_imported(stored.config):
            target = build_target(config, where)
            flow = Need.FLOW in build_objective(config).needs
            sampler = build_sampler(config, target, where, resolve_dtype(config.dtype), config.replicas, flow)
    except ConfigError as error:
        if stored.is_of_another_release:
            again = f"install that release (pip install gfn_vi=={stored.release}), or train it again"
            raise RunError(f"{stored.made_by}, which cannot build it ({error}): {again}") from error
        raise
    load_parameters(sampler, state, stored.path)
    return target, sampler.requires_grad_(False)


def load_parameters(sampler: Any, state: dict[str, Any], path: Path) -> None:
    """Give a sampler the parameters of a run's checkpoint. Raises RunError where they do not fit."""
    try:
        sampler.load_state_dict(state["trainer"]["sampler"])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise RunError(
            f"{path}: its checkpoint does not fit its configuration ({' '.join(lines[:2])}): train it again"
        ) from error


def trainer_of(stored: StoredRun, device: str) -> Trainer:
    """Return a trainer that stands where the run's training stands; it writes nothing to the disk."""
    from gfn_vi.build import build_trainer

    config = OmegaConf.create(stored.config)
    assert isinstance(config, DictConfig)
    config.device = device
    state = checkpoint_of(stored)
    with user_modules(), code_as_imported(stored.config):
        trainer, _ = build_trainer(config)
    trainer.load_state_dict(state["trainer"])
    return trainer
