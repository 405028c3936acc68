"""The source files of the package as the tests of its architecture read them: imports, rooms, and rules that are tried.

A rule is a function Source -> violations. Each is tried on a small violation of itself first, so that a rule that sees nothing
cannot pass, then on the nearest legal neighbors of all violations, and then on every file.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PLUGINS = "gfn_vi", "hydra_plugins"


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


Rule = Callable[[Source], list[str]]
# What the rules must let pass: the nearest legal neighbors of their violations.
SOUND = {
    "__init__.py": '__version__ = "0"',
    "build.py": "import torch\nfrom hydra.utils import instantiate\nfrom gfn_vi.core.errors import RunError",
    "core/__init__.py": '"""nan_to_num, torch.manual_seed(0) and except: are only words here."""',
    "core/errors.py": "import math",
    "core/a.py": "import torch\ndef f(seed):\n    'The JSD is a word here.'\n    return torch.Generator().manual_seed(seed)",
    "targets/a.py": "from gfn_vi.core.a import f\nfrom gfn_vi.targets import b\ndef g():\n    import pandas",
    "evaluation/exact/a.py": "WORST_JSD = 0.7\ndef _f():\n    'jsd'",
    "training/rate_schedules.py": "watches = 'jsd'",
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


def trials_of(broken: dict[Rule, list[dict[str, str]]], sound: dict[str, str]) -> tuple[Callable[..., Any], ...]:
    """Three tests of the rules: each finds every violation of `broken`, none finds one in `sound`, and every file keeps them."""
    cases = [pytest.param(rule, files, id=f"{rule.__name__}-{n}") for rule in broken for n, files in enumerate(broken[rule])]
    every_rule = pytest.mark.parametrize("rule", list(broken), ids=lambda rule: rule.__name__)

    @pytest.mark.parametrize(("rule", "files"), cases)
    def finds_its_violation(rule: Rule, files: dict[str, str], tmp_path: Path) -> None:
        violations = rule(write(tmp_path, files)[0])
        assert len(violations) == 1
        assert next(iter(files)) in violations[0]

    @every_rule
    def lets_sound_files_pass(rule: Rule, tmp_path: Path) -> None:
        assert [violation for source in write(tmp_path, sound) for violation in rule(source)] == []

    @pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
    @every_rule
    def file_keeps_the_rule(rule: Rule, path: Path) -> None:
        violations = rule(load(ROOT, path))
        assert not violations, "\n" + "\n".join(violations)

    return finds_its_violation, lets_sound_files_pass, file_keeps_the_rule
