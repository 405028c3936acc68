"""Writing files so that either the old or the new version is there, whenever the process or the machine dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gfn_vi.core.errors import RunError

NOT_A_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)  # what file systems say of names that they do not take


def disk_error(path: Path, error: OSError) -> RunError:
    """Return the error to raise when `path` cannot be written: it names the file, the cause and the key output_root."""
    way_on = "free space or set output_root to a folder that can be written"
    if error.errno in NOT_A_NAME:
        way_on = "set experiment_name and output_root to names that the file system takes"
    return RunError(f"cannot write {path}: {error.strerror or error}; {way_on}")


def sync_directory(directory: Path) -> None:
    """Make renames inside `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, write: Callable[[BinaryIO], object], previous: Path | None = None) -> None:
    """Replace `path` by what `write(file)` writes; the version before is kept as `previous` if that is given.

    Between two renames `path` may be missing for a moment; `previous` is there then. One writer at a time.
    Raises RunError when the disk is full or not writable: the old file is still there, the temporary one is not.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
            sync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk_error(path, error) from error
