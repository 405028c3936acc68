"""Arrays from files of others: pickles are read by an unpickler that makes arrays and nothing else, so none can run code."""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, require

GZIP, ZIP = b"\x1f\x8b", b"PK"
# What pickles of arrays name, from the releases of numpy before and after 2.
ADMITTED = {
    *((module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
    ("_codecs", "encode"),  # of the bytes of an array, in the oldest protocols
}


class ArrayUnpickler(pickle.Unpickler):
    """Admits what arrays, lists, tuples and dictionaries are made of, and refuses any other global by its name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a constructor of arrays. Raises UnpicklingError for anything else."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array: nothing of it was run")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_weights(path: str, digest: str | None, entries: Mapping[str, tuple[int, ...]], key: str) -> dict[str, Tensor]:
    """Return the float32 tensor of each of the entries, given by name -> shape.

    path: an .npz file, or a pickle (gzipped or not), of arrays under these names or in this order. digest: what the file had when
    the run was named, or None for any. Raises ConfigError(key) for anything else.
    """
    arrays = _arrays(user_files.read_known(path, digest, key, "weights"), path, key)
    expected = f"expected {len(entries)} arrays, {next(iter(entries))} to {list(entries)[-1]}"
    if isinstance(arrays, Mapping) and set(arrays) != set(entries):
        in_order = [f"arr_{i}" for i in range(len(arrays))]  # the names that numpy.savez gives to arrays without
        require(set(arrays) == set(in_order), key, path, f"{expected}; it has {', '.join(map(str, arrays))[:200]}")
        arrays = [arrays[name] for name in in_order]
    if not isinstance(arrays, Mapping):
        is_list = isinstance(arrays, (list, tuple))
        has = f"it has {len(arrays)}" if is_list else f"it holds one {type(arrays).__name__}"
        require(is_list and len(arrays) == len(entries), key, path, f"{expected}; {has}")
        arrays = dict(zip(entries, arrays, strict=True))
    return {name: _tensor(arrays[name], i, name, shape, path, key) for i, (name, shape) in enumerate(entries.items())}


def _arrays(content: bytes, path: str, key: str) -> Any:
    """Return what the file holds: a list or a dictionary, if it is sound."""
    import numpy as np

    try:
        if content.startswith(ZIP):
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return dict(archive)
        plain = gzip.decompress(content) if content.startswith(GZIP) else content
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ConfigError(key, path, f"the file is damaged, or holds more than arrays: {_line(error)}") from error
    try:
        return ArrayUnpickler(io.BytesIO(plain)).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise ConfigError(key, path, f"expected arrays and nothing else, pickled or in an .npz file: {_line(error)}") from error


def _tensor(array: object, place: int, name: str, shape: tuple[int, ...], path: str, key: str) -> Tensor:
    import numpy as np

    entry = f"entry {place} ({name})"
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        what = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ConfigError(key, path, f"{entry} is {what}: expected an array of floating-point numbers")
    require(array.shape == shape, key, path, f"{entry} has the shape {list(array.shape)}: expected {list(shape)}")
    tensor = torch.from_numpy(array.astype("float32"))
    require(bool(tensor.isfinite().all()), key, path, f"{entry} is not finite everywhere")
    return tensor


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
