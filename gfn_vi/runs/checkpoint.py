"""Checkpoints that survive a kill at any moment, a damaged file and a full disk.

`checkpoint.pt` is the newest, `checkpoint.previous.pt` the one before. A damaged newest file is set aside as
`checkpoint.damaged.pt`, so that the next save cannot push it over the good previous one.
"""

from __future__ import annotations

import logging
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gfn_vi.core.errors import RunError
from gfn_vi.runs.durable_files import disk_error, replace_durably

logger = logging.getLogger(__name__)

# What zipfile and torch raise for flipped bits, cut ends and garbage.
DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)


def _sibling(path: Path, word: str) -> Path:
    return path.with_name(f"{path.stem}.{word}{path.suffix}")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, None, lists, tuples, dicts) to `path`; keep the one before.

    Raises RunError naming output_root when the disk is full; the old checkpoints stay.
    """

    def write(file: BinaryIO) -> None:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # torch's zip writer stumbles over the write that failed and hides it: only the context has the cause.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    replace_durably(path, write, previous=_sibling(path, "previous"))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in this very file, with its tensors on the CPU. Raises one of DAMAGE."""
    # torch.load does not compare checksums: without this a flipped bit becomes a wrong weight.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read, with its tensors on the CPU; None if nothing was ever saved.

    A damaged newest file is reported by one warning and set aside. Raises RunError when no file can be read.
    """
    failures: dict[Path, str] = {}
    for candidate in (path, _sibling(path, "previous")):
        if not candidate.exists():
            continue
        try:
            state = read_checkpoint(candidate)
        except DAMAGE as error:
            first_line = (str(error) or "unreadable").splitlines()[0]
            if isinstance(error, pickle.UnpicklingError):  # torch would advise to load it nevertheless
                first_line = "it holds something else than tensors and plain values, which nothing here loads"
            failures[candidate] = f"{candidate} ({type(error).__name__}: {first_line})"
            continue
        if path in failures:
            aside = _sibling(path, "damaged")
            logger.warning("damaged checkpoint %s: going on from %s, keeping %s", failures[path], candidate, aside)
            try:
                os.replace(path, aside)
            except OSError as error:
                raise disk_error(aside, error) from error
        return state
    if failures:
        raise RunError(f"no checkpoint can be read: {' and '.join(failures.values())}; delete them to start over")
    return None
