"""The text of --help, read off configs/: each choice with the first comment of its YAML, each key with its own comment."""

from __future__ import annotations

from glob import iglob
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from textwrap import shorten

from gfn_vi.terminal.choices import config_folders

WIDTH, LINE = 26, 130


def choices_in_words(*wanted: str) -> str:
    """Groups (all, or those wanted) and their choices with the line that heads each file; those of --config-dir included."""
    lines: list[str] = []
    groups: dict[str, dict[str, str]] = {}
    for root in config_folders():
        for found in iglob("**/*.yaml", root_dir=root, recursive=True):
            *folders, name = Path(found).with_suffix("").parts
            if folders and "hydra" not in folders:
                groups.setdefault("/".join(folders), {})[name] = _heading((root / found).read_text(encoding="utf-8"))
    for group in sorted(set(groups) & set(wanted) if wanted else groups):
        lines.append(f"{group}:")
        width = max(WIDTH, max(len(name) for name in groups[group]) + 1)
        for name, text in sorted(groups[group].items()):
            lines.append(f"  {name:<{width}}{shorten(text, LINE - width - 2, placeholder=' ...')}".rstrip())
    return _for_template("\n".join(lines))


def keys_in_words(config: str, first: str) -> str:
    """Return the keys of <config>.yaml that belong to no group, from the first of them on, as they stand there."""
    text = (files("gfn_vi.configs") / f"{config}.yaml").read_text(encoding="utf-8")
    return _for_template(text[text.index(f"{first}:") : text.index("\nhydra:")].strip())


def _for_template(text: str) -> str:
    """Hydra substitutes $NAME in the help text."""
    return text.replace("$", "$$")


def _heading(text: str) -> str:
    """The first comment of a YAML that is no @package line."""
    comments = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return next((line.lstrip("# ").rstrip() for line in comments if "@package" not in line), "")
