"""Reference samples on disk: one file for all runs below output_root that ask for the same chains of the same target."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from gfn_vi.runs.directory import identity_digest
from gfn_vi.runs.durable_files import disk_error, replace_durably
from gfn_vi.runs.sources import sources_of

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("gfn_vi")

FOLDER = "references"


class ReferenceFile:
    """The file <output_root>/references/<target>-<hash>.npz, the hash that of the keys of the target and of the chains, and of
    the user's files that either depends on.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: of a run, resolved."""
        target, asked = config["target"], config["evaluation"].get("references")
        name = str(target["_target_"]).rpartition(".")[2]
        sources = sources_of({"target": target, "references": asked})
        code = {"sources": sources} if sources else {}
        digest = identity_digest({"target": target, "references": asked} | code)
        self.path = Path(config["output_root"], FOLDER, f"{name}-{digest}.npz")

    def __call__(
        self, draw: Callable[[], Mapping[str, Tensor]], fits: Callable[[Mapping[str, Tensor]], bool]
    ) -> Mapping[str, Tensor]:
        """Return the arrays of the file where they fit, else those that are drawn and written now.

        Of several processes that ask at the same time one draws, and the others wait. Raises RunError where the disk says no.
        """
        lock = filelock.FileLock(self.path.with_suffix(".lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise disk_error(self.path, error) from error
        try:
            kept = self._read()
            if kept is not None and fits(kept):
                return kept
            log.info("drawing reference samples, once for all runs that need them: %s", self.path)
            drawn = draw()
            self._write(drawn)
            return drawn
        finally:
            lock.release()

    def _read(self) -> dict[str, Tensor] | None:
        """Return the arrays; None where there is no file, or a damaged one, which is drawn anew."""
        import numpy as np
        import torch

        try:
            with np.load(self.path) as content:
                return {name: torch.from_numpy(content[name]) for name in content.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be read (%s): drawn anew", self.path, error)
            return None

    def _write(self, drawn: Mapping[str, Tensor]) -> None:
        import numpy as np

        arrays: dict[str, Any] = {name: value.numpy() for name, value in drawn.items()}
        replace_durably(self.path, lambda file: np.savez(file, **arrays))
