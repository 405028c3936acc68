"""The rules of the house on imports: who may import whom, and what no start-up may reach.

Imports form a star: core <- {targets, samplers, exploration, objectives, evaluation, training, runs}; siblings never import
each other. sweeps, analysis and run know runs, which alone knows a run's files; build and commands put the parts together.
Nothing imports in a circle. Start-up stays short because nothing that a command runs on import reaches a heavy package.
What nobody may write is in test_names.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sources import FILES, PACKAGE, PLUGINS, ROOT, SOUND, Rule, Source, load, trials_of, within

HEAVY = ("torch", "wandb", "pandas", "seaborn", "matplotlib", "numpy")
LOGGERS = ("wandb", "tensorboard", "torch.utils.tensorboard")
OF_SOME_TARGETS = ("networkx", "numpy", "pandas", "pgmpy", "rdkit", "sklearn")
FORBIDDEN_PACKAGES = ("ray", "submitit", "optuna")

STANDARD = tuple(sys.stdlib_module_names)
VERSION = (f"{PACKAGE}.__version__",)
# Room -> what its files may import. analysis, commands and sweeps: see ALLOWED_OF_PACKAGE.
ALLOWED = {
    "core": ("torch", "gfn_vi.core"),
    "targets": ("torch", "gfn_vi.core", "gfn_vi.targets", "networkx", "numpy", "pandas", "pgmpy", "rdkit", "sklearn"),
    "samplers": ("torch", "gfn_vi.core", "gfn_vi.samplers", "numpy", "zuko"),
    "exploration": ("torch", "gfn_vi.core", "gfn_vi.exploration"),
    "objectives": ("torch", "gfn_vi.core", "gfn_vi.objectives"),
    "evaluation": ("torch", "gfn_vi.core", "gfn_vi.evaluation", "ot", "pyro", "rdkit"),
    "runs": (
        *("torch", "gfn_vi.core", "gfn_vi.runs"),
        *("filelock", "wandb", "tensorboard", "numpy", "omegaconf", "pandas", "pyarrow", "yaml"),
    ),
    "training": ("torch", "gfn_vi.core", "gfn_vi.training", "rich"),
    "fitting": ("hydra", "omegaconf", "gfn_vi.core", "gfn_vi.evaluation.base"),
    "instantiation": ("hydra", "omegaconf", "gfn_vi.core", "gfn_vi.signatures"),
    "build_target": (
        *("torch", "hydra", "omegaconf", "gfn_vi.core", "gfn_vi.fitting", "gfn_vi.instantiation"),
        "gfn_vi.verification.targets",
    ),
    "build": (
        *("torch", "hydra", "omegaconf", "gfn_vi.core", "gfn_vi.training", "gfn_vi.signatures", "gfn_vi.fitting"),
        *("gfn_vi.build_target", "gfn_vi.instantiation"),
        *("gfn_vi.evaluation.base", "gfn_vi.evaluation.measurement", "gfn_vi.evaluation.references"),
        "gfn_vi.mirrors",
    ),
    "mirrors": ("hydra", "omegaconf", "gfn_vi.core", "gfn_vi.signatures"),
    "verification": (
        *("torch", "rich", "gfn_vi.core", "gfn_vi.evaluation", "gfn_vi.verification"),
        *("gfn_vi.objectives", "gfn_vi.samplers.discrete.sampler", "gfn_vi.training"),
    ),
    "signatures": ("gfn_vi.core.errors",),
    "resolvers": ("omegaconf", "gfn_vi.core"),
    "run": (*("torch", "hydra", "omegaconf", "gfn_vi.core", "gfn_vi.training", "gfn_vi.build", "gfn_vi.mirrors", "gfn_vi.runs"),),
    "__init__": (
        *("omegaconf", "gfn_vi.core.errors", "gfn_vi.core.version", "gfn_vi.interface", "gfn_vi.training.trainer"),
        *("gfn_vi.verification.targets.findings", "gfn_vi.verification.targets.report"),
    ),
}
# Room -> what of gfn_vi its files may import; other packages are its own affair.
ALLOWED_OF_PACKAGE = {
    "analysis": (
        *("gfn_vi.analysis", "gfn_vi.core.command_line", "gfn_vi.core.errors", "gfn_vi.core.headline", "gfn_vi.core.reliability"),
        "gfn_vi.runs",
    ),
    "commands": (
        *(
            "gfn_vi.commands",
            "gfn_vi.terminal",
            "gfn_vi.build",
            "gfn_vi.build_target",
            "gfn_vi.fitting",
            "gfn_vi.interface",
            "gfn_vi.mirrors",
            "gfn_vi.run",
            "gfn_vi.signatures",
            "gfn_vi.resolvers",
        ),
        *("gfn_vi.core", "gfn_vi.runs", "gfn_vi.analysis", "gfn_vi.verification", "gfn_vi.sweeps"),
    ),
    "interface": (
        *("gfn_vi.interface", "gfn_vi.core", "gfn_vi.runs", "gfn_vi.build", "gfn_vi.run", "gfn_vi.resolvers", "gfn_vi.training"),
        "gfn_vi.fitting",
        *("gfn_vi.evaluation", "gfn_vi.analysis", "gfn_vi.sweeps", "gfn_vi.terminal"),
    ),
    "sweeps": (*("gfn_vi.sweeps", "gfn_vi.core", "gfn_vi.resolvers", "gfn_vi.runs", "gfn_vi.signatures", "gfn_vi.terminal"),),
    "terminal": ("gfn_vi.terminal", "gfn_vi.core.command_line", "gfn_vi.core.errors", "gfn_vi.runs.folders", "gfn_vi.signatures"),
    PLUGINS: (
        *("gfn_vi.sweeps", "gfn_vi.core", "gfn_vi.runs", "gfn_vi.terminal", "gfn_vi.analysis.statistics"),
        *("gfn_vi.build", "gfn_vi.signatures"),
    ),
}


def star(source: Source) -> list[str]:
    """A room imports only what the star grants it."""
    if source.room in ALLOWED_OF_PACKAGE:
        allowed = ALLOWED_OF_PACKAGE[source.room] + VERSION
        wrong = [i for i in source.imports if within(i.name, (PACKAGE,)) and not within(i.name, allowed)]
    elif source.room in ALLOWED:
        allowed = ALLOWED[source.room] + VERSION
        wrong = [i for i in source.imports if not within(i.name, allowed + STANDARD)]
    else:
        return [source.at(1, f"{source.room} is no room of gfn_vi: add it to ALLOWED in {Path(__file__).name}")]
    return [source.at(i.line, f"{source.room} may import only {', '.join(allowed)}; found {i.name}") for i in wrong]


def torch_free_analysis(source: Source) -> list[str]:
    """analysis draws figures where torch is not installed: it never imports torch, nor anything that does."""
    if source.room != "analysis":
        return []
    direct = [source.at(i.line, f"imports {i.name}") for i in source.imports if within(i.name, ("torch",))]
    return direct + [source.at(line, chain) for line, chain in reached(source, ("torch",))]


def light_commands(source: Source) -> list[str]:
    """Importing a command imports nothing heavy, directly or through another module: `--help` answers at once."""
    if source.room != "commands":
        return []
    return [source.at(line, f"on import {chain}: import it in a function") for line, chain in reached(source, HEAVY)]


Chains = list[tuple[int, str]]


def reached(source: Source, prefixes: tuple[str, ...], known: dict[Path, Chains] | None = None) -> Chains:
    """What importing the source runs: (line, one chain) for each of its imports that ends below one of the prefixes.

    known: of the files that were looked at on the way, each once; one that is being looked at has none so far.
    """
    chains: Chains = []
    known = {} if known is None else known
    known[source.path] = []
    for found in source.imports:
        if not found.runs_on_import:
            continue
        if within(found.name, prefixes):
            chains.append((found.line, f"imports {found.name}"))
            continue
        for path in files_run_by(source.root, found.name):
            below = known[path] if path in known else reached(load(source.root, path), prefixes, known)
            if below:
                line, chain = below[0]
                chains.append((found.line, f"imports {path.relative_to(source.root)}:{line} which {chain}"))
                break
    known[source.path] = chains
    return chains


def files_run_by(root: Path, name: str) -> list[Path]:
    """The files of gfn_vi that importing the name runs: the __init__.py of every package on the way, the module."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return []
    stems = [root.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return [path for stem in stems for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()]


def lazy_loggers(source: Source) -> list[str]:
    """wandb and TensorBoard cost a second each: imported where a run asks for them."""
    wrong = [i for i in source.imports if i.runs_on_import and within(i.name, LOGGERS)]
    return [source.at(i.line, f"{i.name} at module level: import it in a function") for i in wrong]


def lazy_targets(source: Source) -> list[str]:
    """What one target needs is imported where it is used: the others cost nothing more, and pgmpy need not be installed."""
    wrong = [i for i in source.imports if source.room == "targets" and i.runs_on_import and within(i.name, OF_SOME_TARGETS)]
    return [source.at(i.line, f"{i.name} at module level: import it in a function") for i in wrong]


def launchers_are_plugins(source: Source) -> list[str]:
    """Ray and submitit come with their Hydra plugins; Optuna is for hydra_plugins/ only."""
    wrong = [i for i in source.imports if source.room != PLUGINS and within(i.name, FORBIDDEN_PACKAGES)]
    return [source.at(i.line, f"{i.name}: nothing in gfn_vi knows launchers or searches") for i in wrong]


def core_init_is_empty(source: Source) -> list[str]:
    """gfn_vi.core.errors must be importable without torch, so core/__init__.py imports nothing."""
    if source.path != source.root / PACKAGE / "core" / "__init__.py":
        return []
    return [source.at(i.line, f"core/__init__.py imports {i.name}; it imports nothing") for i in source.imports]


def no_circles(source: Source) -> list[str]:
    """No module imports itself through others, not even inside a function."""
    chain = circle(source.root, source.path, source.path, set())
    return [] if chain is None else [source.at(1, f"imports itself: {' -> '.join(chain)}")]


def circle(root: Path, path: Path, end: Path, seen: set[Path]) -> list[str] | None:
    """One chain of imports from path to end; None without one. Packages that a name only passes through are not followed."""
    for found in load(root, path).imports:
        for file in files_run_by(root, found.name)[-1:]:
            if file == end and path != end:
                return [found.name]
            if file not in seen and file != end:
                seen.add(file)
                below = circle(root, file, end, seen)
                if below is not None:
                    return [found.name, *below]
    return None


# Rule -> violations of it: the files of a little gfn_vi, of which the first breaks the rule in every given way.
BROKEN: dict[Rule, list[dict[str, str]]] = {
    star: [
        {"core/a.py": "import numpy"},
        {"core/a.py": "from gfn_vi.training.trainer import Trainer"},
        {"targets/a.py": "def f():\n    from gfn_vi.samplers import mlp"},
        {"samplers/a.py": "from gfn_vi import targets"},
        {"samplers/a.py": "from ..targets.hypergrid import Hypergrid"},
        {"exploration/a.py": "import importlib\nimportlib.import_module('gfn_vi.samplers.discrete.mlp')"},
        {"objectives/a.py": "import torchvision"},
        {"evaluation/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gfn_vi.targets"},
        {"training/a.py": "import hydra"},
        {"analysis/a.py": "from gfn_vi.core.types import Trajectories"},
        {"build.py": "from gfn_vi.targets.grids.hypergrid import Hypergrid"},
        {"commands/a.py": "from gfn_vi.objectives import variational"},
        {"runs/a.py": "from gfn_vi.sweeps.jobs import Job"},
        {"sweeps/a.py": "from gfn_vi.commands import train"},
        {"run.py": "def f():\n    from gfn_vi.analysis.pictures import graphs"},
        {"hydra_plugins/a.py": "from gfn_vi.run import run"},
        {"tools/a.py": ""},
    ],
    torch_free_analysis: [
        {"analysis/a.py": "def f():\n    from torch import Tensor"},
        {"analysis/a.py": "from gfn_vi.core.errors import RunError", "core/errors.py": "import torch"},
        {"analysis/a.py": "from gfn_vi.core.errors import RunError", "core/__init__.py": "from torch import nn"},
    ],
    light_commands: [
        {"commands/a.py": "import torch.nn"},
        {"commands/a.py": "try:\n    import pandas as pd\nexcept ImportError:\n    pd = None"},
        {"commands/a.py": "class C:\n    import matplotlib.pyplot"},
        {"commands/a.py": "from gfn_vi import build", "build.py": "import gfn_vi.core.b", "core/b.py": "import torch"},
    ],
    lazy_loggers: [
        {"runs/a.py": "import wandb"},
        {"runs/a.py": "from torch.utils.tensorboard import SummaryWriter"},
        {"runs/a.py": "from torch.utils import tensorboard"},
    ],
    lazy_targets: [
        {"targets/a.py": "import networkx"},
        {"targets/a.py": "from pgmpy.readwrite import BIFReader"},
    ],
    launchers_are_plugins: [
        {"commands/a.py": "def f():\n    import ray"},
        {"analysis/a.py": "from optuna.trial import TrialState"},
    ],
    core_init_is_empty: [{"core/__init__.py": "from gfn_vi.core.types import Trajectories"}],
    no_circles: [
        {"core/a.py": "from gfn_vi.core import b", "core/b.py": "from gfn_vi.core import a"},
        {
            "core/a.py": "def f():\n    from gfn_vi.core.b import g",
            "core/b.py": "from gfn_vi.core.c import g",
            "core/c.py": "from gfn_vi.core.a import f",
        },
    ],
}
test_rule_finds_its_violation, test_rule_lets_sound_files_pass, test_file_keeps_the_rule = trials_of(BROKEN, SOUND)


def test_every_room_has_files_to_check() -> None:
    rooms = {load(ROOT, path).room for path in FILES}
    assert rooms == set(ALLOWED) | set(ALLOWED_OF_PACKAGE)
