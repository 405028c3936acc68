"""One static page of the best molecules of a run: their structures, values and probabilities. It needs nothing else."""

from __future__ import annotations

import base64
import math
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.analysis.pictures.structures import PANEL, svg
from gfn_vi.analysis.reading.table import replace_file
from gfn_vi.core.command_line import command
from gfn_vi.runs.presets import remark_on
from gfn_vi.runs.reading import read_run

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 24
MINUS = "\N{MINUS SIGN}"
# Keys of the configuration that say what the numbers are, as far as the run has them, and what the page calls them.
FACTS = {
    "target.proxy._target_": "Proxy",
    "target.beta": "Exponent of the reward",
    "target.blocks": "Blocks",
    "target.max_blocks": "Blocks in a molecule, at most",
    "trainer.n_trajectories": "Training trajectories",
    "replicas": "Replicas",
}


def write_page(best: pd.DataFrame, n_drawn: int, directory: Path, name: str) -> None:
    """Write the page of a table of molecules, the best first, to a run's directory. n_drawn: samples of all replicas together."""
    text = render(best, n_drawn, directory)
    replace_file(directory / name, lambda path: path.write_text(text, encoding="utf-8"))


def render(best: pd.DataFrame, n_drawn: int, directory: Path) -> str:
    """Return the page as text."""
    import jinja2

    config = read_run(directory).config
    facts = {words: _told(config[key]) for key, words in FACTS.items() if config.get(key) is not None}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("gfn_vi.analysis.pages") / "molecules.html.j2").read_text(encoding="utf-8")
    content = {
        "title": directory.resolve().name,
        "facts": facts,
        "decides_nothing": remark_on(directory),
        "cards": [_card(row, n_drawn) for row in best.head(SHOWN).to_dict("records")],
        "n_all": len(best),
        "width": PANEL[0],
        "height": PANEL[1],
        "command": f"{command('pictures')} {shlex.quote(str(directory))}",
    }
    return environment.from_string(template).render(content) + "\n"


def _told(value: object) -> str:
    """Return a value of the configuration as the page shows it: of a class its name, of a path its last part."""
    text = str(value)
    return text.rsplit("/", 1)[-1] if "/" in text else text.rsplit(".", 1)[-1] if text.startswith("gfn_vi.") else text


def _card(row: dict[Any, Any], n_drawn: int) -> dict[str, str]:
    """Return the texts and the picture of one molecule."""
    low, high = row["log_P_T_low"], row["log_P_T_high"]
    spread = f" ({low:.1f} to {high:.1f})" if high > low else ""
    return {
        "smiles": row["smiles"],
        "value": f"{row['value']:#.4g}".replace("-", MINUS),
        "log_reward": f"{row['log_reward']:.2f}".replace("-", MINUS),
        "log_terminating": "unknown" if math.isnan(low) else f"{row['log_P_T']:.2f}{spread}".replace("-", MINUS),
        "drawn": f"{row['drawn']} of {n_drawn}",
        "n_blocks": str(row["n_blocks"]),
        "picture": base64.b64encode(svg(row["smiles"]).encode()).decode(),
    }
