"""Finished runs that need no composing, since the manifest tells which run a job's overrides stand for (0.1 s each otherwise).

What a job is composed of, besides its overrides, has a digest in the manifest, and nothing is remembered under another one:

* every YAML file on Hydra's search path: the package's, those of --config-dir and of hydra.searchpath
* versions of gfn_vi, Hydra and OmegaConf, the name of the main file, and what the command line says of Hydra itself
* what the files ask of the world outside: variables (`oc.env`), the content of data files (`digest`), and whatever else resolvers
  of gfn_vi answer; the questions are in the manifest, the answers only in the digest

A job is taken from the manifest only if its run is finished and its config.yaml still has the hash of the run's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from gfn_vi import resolvers
from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.version import VERSION
from gfn_vi.runs.directory import identity_of, run_directory, run_name
from gfn_vi.runs.manifest import Composing, read_asked, read_manifest
from gfn_vi.runs.state import FINISHED, look
from gfn_vi.runs.stored_config import stored_config
from gfn_vi.sweeps.jobs import Job

# Resolvers whose answers may change with the world outside: they are asked again.
WITNESSES: dict[str, Callable[..., Any]] = {"oc.env": oc.env} | resolvers.RESOLVERS
# OmegaConf's own that depend on nothing but the configuration; gfn_vi_* are texts of --help.
PURE = {"oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select"}
RESOLVER = re.compile(rb"\$\{\s*([^\s${}:]*)\s*(?:\$\{|:)")  # its name, which may be made of further interpolations
MOST_FILES = 5000  # or folders on the search path: what has more is no folder of configurations


class Remembered:
    """Knowledge that the manifest of a sweep's folder has of its jobs. config: the sweep's own, as Sweeper.setup gets it."""

    def __init__(self, config: DictConfig, arguments: Sequence[str]) -> None:
        self._folder = _folder_of(config)
        self._read_sources = lambda: None if self._folder is None else _sources(config, arguments)
        self._sources = self._read_sources()
        self._answers: dict[str, str] = {}  # question -> answer
        self._runs: dict[tuple[str, ...], str] = {}
        self._is_mixed = False  # whether a question had two answers
        if self._folder is not None and self._sources is not None:
            self._answers = {question: _answer(question) for question in read_asked(self._folder, self._sources)}
            digest, runs = self._digest(self._sources), read_manifest(self._folder).items()
            self._runs = {entry.overrides: name for name, entry in runs if entry.composed == digest}

    def job(self, overrides: tuple[str, ...]) -> Job | None:
        """Return the job of these overrides; None where it has to be composed."""
        name = self._runs.get(overrides)
        if name is None or self._folder is None:
            return None
        directory = self._folder / name
        config = stored_config(directory) if look(directory).state in FINISHED else None
        try:
            is_it = config is not None and identity_of(self._folder / run_name(config)) == identity_of(directory)
        except ConfigError:
            return None
        return Job(overrides, directory, config) if is_it and config is not None else None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """While jobs are composed, note what they ask of the world outside."""
        for name, answer in WITNESSES.items():
            OmegaConf.register_new_resolver(name, self._noting(name, answer), replace=True)
        try:
            yield
        finally:
            for name, answer in WITNESSES.items():
                OmegaConf.register_new_resolver(name, answer, replace=True)

    def _noting(self, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            found = answer(*arguments)
            question = json.dumps([name, *arguments], default=str)
            self._is_mixed |= self._answers.setdefault(question, repr(found)) != repr(found)
            return found

        return noted

    def composing(self) -> Composing | None:
        """Return what the manifest is to say of the jobs composed until now.

        None where not all that they depend on is known, and where some of it changed meanwhile.
        """
        if self._sources is None or self._is_mixed or self._read_sources() != self._sources:
            return None
        return Composing(self._sources, tuple(sorted(self._answers)), self._digest(self._sources))

    def _digest(self, sources: str) -> str:
        return _digest([sources, *(f"{question} {answer}" for question, answer in sorted(self._answers.items()))])


def _answer(question: str) -> str:
    """Return the answer of now as text; for what refuses to answer, why."""
    name, *arguments = json.loads(question)
    try:
        return repr(WITNESSES[name](*arguments))
    except Exception as error:  # noqa: BLE001 - composing is who reports it
        return repr(error)


def _folder_of(config: DictConfig) -> Path | None:
    """Return the folder of the jobs that have the output_root and the experiment_name of the sweep; None if there is none."""
    try:
        root = str(user_files.expanded(config.output_root, "output_root"))
        return run_directory({"output_root": root, "experiment_name": config.experiment_name}).parent
    except (OmegaConfBaseException, ConfigError, TypeError):  # composing says what is wrong with it
        return None


def _sources(config: DictConfig, arguments: Sequence[str]) -> str | None:
    """Return a digest of files, versions and what Hydra was told; None where they ask something that nobody knows here."""
    texts = _yaml_texts(config)
    groups = set(ConfigStore.instance().repo)  # a plugin of the user's may add configurations without a file
    if texts is None or not groups <= {"hydra", "_dummy_empty_config_.yaml"}:
        return None
    told = [*OmegaConf.to_container(config.hydra.overrides.hydra), *arguments]  # type: ignore[misc]
    asked = {name.decode() for text in [*texts, *(word.encode() for word in told)] for name in RESOLVER.findall(text)}
    if any(name not in PURE | set(WITNESSES) and not name.startswith("gfn_vi_") for name in asked):
        return None
    versions = [VERSION, metadata.version("hydra-core"), metadata.version("omegaconf")]
    return _digest([*versions, config.hydra.job.config_name, *config.hydra.overrides.hydra, *texts])


def _yaml_texts(config: DictConfig) -> list[bytes] | None:
    """Return path and content of every YAML file on the search path, one after the other; None where one cannot be read."""
    told: list[bytes] = []
    n_folders, output = 0, os.path.realpath(config.output_root)
    for source in config.hydra.runtime.config_sources:
        if source.schema == "structured" or source.path == "hydra.conf":  # plugins, and Hydra itself, which has a version
            continue
        place = _place(source)
        if place is None:
            return None
        told.append(f"{source.provider} {source.schema}".encode())
        for folder, inner, names in os.walk(place, followlinks=True):
            inner[:] = sorted(name for name in inner if os.path.realpath(os.path.join(folder, name)) != output)
            for name in sorted(names):
                if name.endswith(".yaml"):
                    path = Path(folder, name)
                    told += [str(path.relative_to(place)).encode(), path.read_bytes()]
            n_folders += 1
            if max(n_folders, len(told)) > MOST_FILES:
                return None
    return told


def _place(source: Mapping[str, Any]) -> Path | None:
    """Return the folder of a source of configurations, None for one that is no folder."""
    if source["schema"] == "file":
        return Path(source["path"])
    found = find_spec(str(source["path"]).replace("/", ".")) if source["schema"] == "pkg" else None
    places = list(found.submodule_search_locations or []) if found is not None else []
    return Path(places[0]) if len(places) == 1 else None


def _digest(parts: Sequence[str | bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(f"{len(data)} ".encode() + data)  # the length keeps the parts apart
    return found.hexdigest()[:16]
