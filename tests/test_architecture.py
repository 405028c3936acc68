"""The rules of the house that can be read off the source: who may import whom, and what nobody may write.

Imports form a star: core <- {targets, samplers, exploration, objectives, evaluation, training, runs}; siblings never import
each other. sweeps, analysis and run know runs, which alone knows a run's files; build and commands put the parts together.
Nothing imports in a circle. Start-up stays short because nothing that a command runs on import reaches a heavy package.

Every rule is a function Source -> violations. Each is tried on a small violation of itself first, so that a rule that
sees nothing cannot pass, and then on every file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PLUGINS = "gfn_vi", "hydra_plugins"

HEAVY = ("torch", "wandb", "pandas", "seaborn", "matplotlib", "numpy")
LOGGERS = ("wandb", "tensorboard", "torch.utils.tensorboard")
OF_SOME_TARGETS = ("networkx", "pandas", "pgmpy")
FORBIDDEN_PACKAGES = ("ray", "submitit", "optuna")
FORBIDDEN_NAMES = ("nan_to_num", "nan_to_num_")
FORBIDDEN_CALLS = {
    "warnings.filterwarnings": "a warning is a message to act on",
    "warnings.simplefilter": "a warning is a message to act on",
    "torch.manual_seed": "draw from the generators in gfn_vi.core.replicas",
    "torch.random.manual_seed": "draw from the generators in gfn_vi.core.replicas",
    "torch.cuda.manual_seed": "draw from the generators in gfn_vi.core.replicas",
    "torch.cuda.manual_seed_all": "draw from the generators in gfn_vi.core.replicas",
    "numpy.random.seed": "use numpy.random.default_rng",
    "np.random.seed": "use numpy.random.default_rng",
    "random.seed": "use random.Random",
}
FORBIDDEN_FILES = ("utils.py", "common.py", "helpers.py")

STANDARD = tuple(sys.stdlib_module_names)
VERSION = (f"{PACKAGE}.__version__",)
# The files of a run and the columns of its numbers: as in gfn_vi/runs/files.py, which a test below compares.
RUN_FILES = (
    *("config.yaml", "status.json", "metrics.csv", "arrays.npz", "run.log", "run.lock", "run.owner", "checkpoint.pt"),
    "sweep.json",
)
COLUMNS = ("step", "trajectories", "reward_calls", "wall_seconds", "replica", "metric", "value")
# Room -> what its files may import. analysis, commands and sweeps: see ALLOWED_OF_PACKAGE.
ALLOWED = {
    "core": ("torch", "gfn_vi.core"),
    "targets": ("torch", "gfn_vi.core", "gfn_vi.targets", "networkx", "pandas", "pgmpy"),
    "samplers": ("torch", "gfn_vi.core", "gfn_vi.samplers"),
    "exploration": ("torch", "gfn_vi.core", "gfn_vi.exploration"),
    "objectives": ("torch", "gfn_vi.core", "gfn_vi.objectives"),
    "evaluation": ("torch", "gfn_vi.core", "gfn_vi.evaluation"),
    "runs": (
        *("torch", "gfn_vi.core", "gfn_vi.runs"),
        *("filelock", "wandb", "tensorboard", "numpy", "omegaconf", "pandas", "pyarrow", "yaml"),
    ),
    "training": ("torch", "gfn_vi.core", "gfn_vi.training", "rich"),
    "build": (
        *("torch", "hydra", "omegaconf", "gfn_vi.core", "gfn_vi.training", "gfn_vi.signatures"),
        *("gfn_vi.evaluation.base", "gfn_vi.evaluation.measurement"),
    ),
    "verification": (
        *("torch", "rich", "gfn_vi.core", "gfn_vi.evaluation", "gfn_vi.verification"),
        *("gfn_vi.objectives", "gfn_vi.samplers.discrete.sampler", "gfn_vi.training"),
    ),
    "signatures": ("gfn_vi.core.errors",),
    "resolvers": ("omegaconf", "gfn_vi.core"),
    "run": (*("torch", "hydra", "omegaconf", "gfn_vi.core", "gfn_vi.training", "gfn_vi.build", "gfn_vi.runs"),),
    "__init__": (),
}
# Room -> what of gfn_vi its files may import; other packages are its own affair.
ALLOWED_OF_PACKAGE = {
    "analysis": ("gfn_vi.analysis", "gfn_vi.core.command_line", "gfn_vi.core.errors", "gfn_vi.core.headline", "gfn_vi.runs"),
    "commands": (
        *("gfn_vi.commands", "gfn_vi.terminal", "gfn_vi.build", "gfn_vi.run", "gfn_vi.signatures", "gfn_vi.resolvers"),
        *("gfn_vi.core", "gfn_vi.runs", "gfn_vi.analysis", "gfn_vi.verification", "gfn_vi.sweeps"),
    ),
    "sweeps": ("gfn_vi.sweeps", "gfn_vi.core", "gfn_vi.runs", "gfn_vi.terminal"),
    "terminal": ("gfn_vi.terminal", "gfn_vi.core.command_line", "gfn_vi.core.errors", "gfn_vi.runs.folders", "gfn_vi.signatures"),
    PLUGINS: ("gfn_vi.sweeps", "gfn_vi.core", "gfn_vi.runs", "gfn_vi.terminal", "gfn_vi.analysis.statistics", "gfn_vi.build"),
}


@dataclass(frozen=True)
class Import:
    """name: the full dotted name, imported objects included; runs_on_import: outside functions and TYPE_CHECKING."""

    name: str
    line: int
    runs_on_import: bool


@dataclass(frozen=True)
class Source:
    """A Python file below root."""

    root: Path
    path: Path

    @property
    def room(self) -> str:
        """The folder below gfn_vi, or the module's name where there is none; hydra_plugins is one room."""
        if self.path.is_relative_to(self.root / PLUGINS):
            return PLUGINS
        return self.path.relative_to(self.root / PACKAGE).with_suffix("").parts[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), filename=str(self.path))

    @cached_property
    def imports(self) -> list[Import]:
        package = ".".join(self.path.relative_to(self.root).parent.parts)
        return list(find_imports(self.tree, package, runs_on_import=True))

    def at(self, line: int, message: str) -> str:
        return f"{self.path.relative_to(self.root)}:{line}: {message}"


def find_imports(node: ast.AST, package: str, runs_on_import: bool) -> Iterator[Import]:
    """Every import below the node, relative ones resolved against the package, importlib's with a literal name too."""
    for child in ast.iter_child_nodes(node):
        runs = runs_on_import and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING"):
            runs = False
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, runs) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) + 1 - child.level]
                base = ".".join([*above, base]).rstrip(".")
            yield from (Import(f"{base}.{alias.name}", child.lineno, runs) for alias in child.names)
        elif isinstance(child, ast.Call) and dotted(child.func) in ("importlib.import_module", "__import__"):
            yield from (Import(str(a.value), child.lineno, runs) for a in child.args[:1] if isinstance(a, ast.Constant))
        yield from find_imports(child, package, runs)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; a call or anything else in front gives an empty first part."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether the dotted name is one of the prefixes or below one of them."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


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


def reached(source: Source, prefixes: tuple[str, ...], seen: frozenset[Path] = frozenset()) -> list[tuple[int, str]]:
    """What importing the source runs: (line, one chain) for each of its imports that ends below one of the prefixes."""
    chains = []
    for found in source.imports:
        if not found.runs_on_import:
            continue
        if within(found.name, prefixes):
            chains.append((found.line, f"imports {found.name}"))
            continue
        for path in files_run_by(source.root, found.name):
            below = [] if path in seen else reached(load(source.root, path), prefixes, seen | {path})
            if below:
                line, chain = below[0]
                chains.append((found.line, f"imports {path.relative_to(source.root)}:{line} which {chain}"))
                break
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


def telling_file_names(source: Source) -> list[str]:
    """A file's name says what is in it."""
    if source.path.name in FORBIDDEN_FILES:
        return [source.at(1, f"{source.path.name} says nothing: name the file after what is in it")]
    return []


def runs_alone_know_their_files(source: Source) -> list[str]:
    """Nobody but gfn_vi/runs spells a run's file or lists the columns of metrics.csv; a message may speak of them."""
    if source.room == "runs":
        return []
    violations = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split("/")[-1] in RUN_FILES:
            violations.append(source.at(node.lineno, f"{node.value}: take the name from gfn_vi.runs.files"))
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            items = node.keys if isinstance(node, ast.Dict) else node.elts
            if len({item.value for item in items if isinstance(item, ast.Constant)} & set(COLUMNS)) > 4:
                violations.append(source.at(node.lineno, "a list of columns: take them from gfn_vi.runs.files"))
    return violations


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


def no_silent_repair(source: Source) -> list[str]:
    """No nan_to_num, no bare except: a non-finite number or an error is reported, never repaired in silence."""
    violations = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            violations.append(source.at(node.lineno, "bare except: name the errors that are expected here"))
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node).split(".")[-1] in FORBIDDEN_NAMES:
            violations.append(source.at(node.lineno, f"{ast.unparse(node)}: find where the NaN comes from"))
    wrong = [i for i in source.imports if i.name.split(".")[-1] in FORBIDDEN_NAMES]
    return violations + [source.at(i.line, f"{i.name}: find where the NaN comes from") for i in wrong]


def no_global_state(source: Source) -> list[str]:
    """No warning filters and no global generator."""
    uses = [(dotted(node), node.lineno) for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)]
    uses += [(i.name, i.line) for i in source.imports]
    return [source.at(line, f"{name}: {FORBIDDEN_CALLS[name]}") for name, line in uses if name in FORBIDDEN_CALLS]


def explicit_constructors(source: Source) -> list[str]:
    """The signature of a constructor is its schema, so it has no **kwargs."""
    return [
        source.at(method.lineno, f"{node.name}.__init__(**{method.args.kwarg.arg}): list the arguments")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__" and method.args.kwarg is not None
    ]


Rule = Callable[[Source], list[str]]
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
    telling_file_names: [{"targets/utils.py": ""}, {"common.py": ""}],
    runs_alone_know_their_files: [
        {"run.py": "path = folder / 'metrics.csv'"},
        {"hydra_plugins/a.py": "path = f'{run}/status.json'"},
        {"analysis/a.py": "names = ['step', 'trajectories', 'replica', 'metric', 'value']"},
        {"analysis/a.py": "types = {'step': 1, 'trajectories': 1, 'replica': 2, 'metric': 3, 'value': 4}"},
    ],
    no_circles: [
        {"core/a.py": "from gfn_vi.core import b", "core/b.py": "from gfn_vi.core import a"},
        {
            "core/a.py": "def f():\n    from gfn_vi.core.b import g",
            "core/b.py": "from gfn_vi.core.c import g",
            "core/c.py": "from gfn_vi.core.a import f",
        },
    ],
    no_silent_repair: [
        {"core/a.py": "try:\n    x = 1\nexcept:\n    pass"},
        {"core/a.py": "loss = loss.nan_to_num()"},
        {"core/a.py": "from torch import nan_to_num"},
    ],
    no_global_state: [
        {"core/a.py": "import warnings\nwarnings.filterwarnings('ignore')"},
        {"core/a.py": "import torch\ntorch.manual_seed(0)"},
        {"core/a.py": "from torch import manual_seed"},
    ],
    explicit_constructors: [{"core/a.py": "class A:\n    def __init__(self, a, **kwargs):\n        pass"}],
}
RULES = list(BROKEN)
# What the rules must let pass: the nearest legal neighbors of the violations above.
SOUND = {
    "__init__.py": '__version__ = "0"',
    "build.py": "import torch\nfrom hydra.utils import instantiate\nfrom gfn_vi.core.errors import RunError",
    "core/__init__.py": '"""nan_to_num, torch.manual_seed(0) and except: are only words here."""',
    "core/errors.py": "import math",
    "core/a.py": "import torch\ndef f(seed):\n    return torch.Generator().manual_seed(seed)",
    "targets/a.py": "from gfn_vi.core.a import f\nfrom gfn_vi.targets import b\ndef g():\n    import pandas",
    "runs/a.py": "from gfn_vi import __version__\nSTATUS = 'status.json'\ndef f():\n    import wandb",
    "sweeps/a.py": "from gfn_vi.runs.a import f\nmessage = 'its config.yaml is damaged'\nkeys = ['run', 'metric', 'value']",
    "hydra_plugins/a.py": "from gfn_vi.sweeps.a import keys\ndef f():\n    import optuna",
    "analysis/a.py": "import pandas\nfrom gfn_vi.core.errors import RunError",
    "commands/a.py": "import hydra\nfrom gfn_vi.core import errors\ndef main(**kwargs):\n    from gfn_vi import build",
}


@cache
def load(root: Path, path: Path) -> Source:
    return Source(root, path)


def write(root: Path, files: dict[str, str]) -> list[Source]:
    paths = [root / name if name.startswith(PLUGINS) else root / PACKAGE / name for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [Source(root, path) for path in paths]


FILES = sorted(path for package in (PACKAGE, PLUGINS) for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("rule", "files"),
    [pytest.param(r, files, id=f"{r.__name__}-{n}") for r in RULES for n, files in enumerate(BROKEN[r])],
)
def test_rule_finds_its_violation(rule: Rule, files: dict[str, str], tmp_path: Path) -> None:
    violations = rule(write(tmp_path, files)[0])
    assert len(violations) == 1
    assert next(iter(files)) in violations[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_lets_sound_files_pass(rule: Rule, tmp_path: Path) -> None:
    assert [violation for source in write(tmp_path, SOUND) for violation in rule(source)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_file_keeps_the_rule(rule: Rule, path: Path) -> None:
    violations = rule(load(ROOT, path))
    assert not violations, "\n" + "\n".join(violations)


def test_every_room_has_files_to_check() -> None:
    rooms = {load(ROOT, path).room for path in FILES}
    assert rooms == set(ALLOWED) | set(ALLOWED_OF_PACKAGE)


def test_the_names_of_files_are_those_that_runs_spells() -> None:
    from gfn_vi.runs import files

    spelled = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    assert spelled == set(RUN_FILES)
    assert files.COLUMNS == COLUMNS
