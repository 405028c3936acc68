"""What a person types: how a command of the project is started, and the keys of its overrides."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"  # exists in a checkout only


def command(name: str) -> str:
    """Return how the command `name` is started here: "python scripts/train.py" in a checkout, else "gfn-vi-train".

    A process that was started from the scripts of the checkout, or that works in its folder without being a console script (a
    worker, python -m), is told of the scripts. Everybody else has the console scripts of the installed package.
    """
    started = Path(sys.argv[0])
    is_script = started.resolve().parent == SCRIPTS
    is_in_checkout = Path.cwd() == SCRIPTS.parent and not started.name.startswith("gfn-vi-")
    if (is_script or is_in_checkout) and (SCRIPTS / f"{name}.py").is_file():
        return f"python scripts/{name}.py"
    return f"gfn-vi-{name}"


def key_of(override: str) -> str:
    """Return the key of an override: "seed" of seed=3, of +seed=3 and of ~seed."""
    return override.partition("=")[0].lstrip("+~")
