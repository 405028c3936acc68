"""Molecules as RDKit draws and writes them: structures of a page, a picture for papers, an SDF file for other programs."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from gfn_vi.analysis.reading.table import replace_file
from gfn_vi.core.command_line import command
from gfn_vi.runs.files import ARRAYS

if TYPE_CHECKING:
    import pandas as pd

STEM = "molecules"  # of the pictures
PICTURED, COLUMNS = 12, 4
PANEL = (300, 250)  # width and height in points of a molecule on the page and in the picture
SCALE = 4  # pixels of the PNG per point
LEGEND_SIZE = 16  # points


def structure(smiles: str) -> Any:
    """Return the RDKit molecule with coordinates in a plane, upright."""
    molecule = Chem.MolFromSmiles(smiles)
    rdDepictor.Compute2DCoords(molecule)
    rdDepictor.StraightenDepiction(molecule)
    return molecule


def svg(smiles: str) -> str:
    """Return one molecule as an SVG picture with a transparent background."""
    drawer: Any = rdMolDraw2D.MolDraw2DSVG(*PANEL)
    _style(drawer, 1)
    drawer.drawOptions().clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, structure(smiles))
    drawer.FinishDrawing()
    return str(drawer.GetDrawingText())


def write_structures(best: pd.DataFrame, path: Path) -> None:
    """Write every row of a table of molecules to an SDF file; its other columns are properties there."""

    def write(temporary: Path) -> None:
        with Chem.SDWriter(str(temporary)) as writer:
            for number, row in enumerate(best.to_dict("records"), 1):
                molecule = structure(str(row["smiles"]))
                molecule.SetProp("_Name", f"molecule {number}")
                for name, value in row.items():
                    molecule.SetProp(str(name), f"{value:.10g}" if isinstance(value, float) else str(value))
                writer.write(molecule)

    replace_file(path, write)


def draw_best(best: pd.DataFrame, directory: Path, digest: str) -> str:
    """Draw the best molecules in a grid as PNG and SVG, and return the files in words. digest: of arrays.npz."""
    drawn = {"svg": _grid(rdMolDraw2D.MolDraw2DSVG, 1, *_with_legends(best))}
    drawn["png"] = _with_origin(png_of_best(best), directory, digest)
    for end, content in drawn.items():
        replace_file(directory / f"{STEM}.{end}", partial(_write, content))
    return f"{STEM}.png (and .svg)"


def png_of_best(best: pd.DataFrame) -> bytes:
    """Return the best molecules in a grid, as the content of a PNG file."""
    return _grid(rdMolDraw2D.MolDraw2DCairo, SCALE, *_with_legends(best))


def _with_legends(best: pd.DataFrame) -> tuple[list[Any], list[str]]:
    shown = best.head(PICTURED)
    pairs = zip(shown["value"].tolist(), shown["log_P_T"].tolist(), strict=True)
    legends = [f"{value:#.4g}" if math.isnan(log_p) else f"{value:#.4g}    log P_T {log_p:.1f}" for value, log_p in pairs]
    return [structure(smiles) for smiles in shown["smiles"]], legends


def _grid(kind: Any, scale: int, molecules: Sequence[Any], legends: Sequence[str]) -> bytes:
    """Return the picture by one of RDKit's drawers. scale: pixels per point."""
    n_columns = min(COLUMNS, len(molecules))
    n_rows = -(-len(molecules) // n_columns)
    width, height = PANEL[0] * scale, PANEL[1] * scale
    drawer = kind(width * n_columns, height * n_rows, width, height)
    _style(drawer, scale)
    drawer.DrawMolecules([rdMolDraw2D.PrepareMolForDrawing(molecule) for molecule in molecules], legends=list(legends))
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    return text.encode() if isinstance(text, str) else text


def _style(drawer: Any, scale: int) -> None:
    """Set what all pictures share: small molecules are drawn at one scale, larger ones as large as their panel allows."""
    options = drawer.drawOptions()
    options.padding = 0.06
    options.drawMolsSameScale = False
    options.bondLineWidth = 1.8 * scale
    options.fixedBondLength = 26 * scale
    options.minFontSize = 11 * scale
    options.legendFontSize = LEGEND_SIZE * scale
    options.legendFraction = 0.12


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _with_origin(png: bytes, directory: Path, digest: str) -> bytes:
    """Return the PNG with what it was drawn from and how, as figures by matplotlib have it."""
    from PIL import Image, PngImagePlugin

    told = PngImagePlugin.PngInfo()
    told.add_text("Description", f"{ARRAYS} {digest}; {command('pictures')} {shlex.quote(str(directory))}")
    with Image.open(io.BytesIO(png)) as image:
        again = io.BytesIO()
        image.save(again, "PNG", pnginfo=told, dpi=(72 * SCALE, 72 * SCALE))
    return again.getvalue()
