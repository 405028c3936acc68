"""The report in a real browser: headless Chromium opens the file, lays it out and paints it, without any network.

scripts/install_chromium.sh installs Debian's. Without it these tests are skipped with the reason.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from system.command import ROOT

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
SWEEP = (
    *("experiment=quickstart", "replicas=2", "trainer.n_trajectories=640", "trainer.batch_size=32"),
    *("target.side=8", "sampler.hidden=[16]", "evaluation.every=320", "progress=false"),
    "arm=paper/trajectory_balance,paper/reverse_kl",
)


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """outputs/quickstart after a small sweep, its figure and its report, each made by its command."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here, nobody looks at the report: as root, sh scripts/install_chromium.sh")
    work = tmp_path_factory.mktemp("work")
    for command in (("train", "-m", *SWEEP), ("figure", "experiment=quickstart"), ("report", "outputs/quickstart")):
        run(sys.executable, str(ROOT / "scripts" / f"{command[0]}.py"), *command[1:], folder=work)
    return work / "outputs/quickstart"


def browse(page: Path, tmp_path: Path, *flags: str) -> str:
    """What Chromium prints of the page, with an empty profile."""
    assert CHROMIUM is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    return run(CHROMIUM, *FLAGS, profile, *flags, page.resolve().as_uri(), folder=tmp_path).stdout


def painted(page: Path, tmp_path: Path, size: str) -> np.ndarray:
    """The window of that size as it is painted, [height, width, 3]."""
    picture = tmp_path / f"{size}.png"
    browse(page, tmp_path, f"--window-size={size}", f"--screenshot={picture}")
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def colored(pixels: np.ndarray) -> int:
    """How many pixels are neither gray nor the blue of links: only a figure has them."""
    spread = pixels.max(-1) - pixels.min(-1)
    return int(((spread > 60) & (pixels[..., 0] > pixels[..., 2])).sum())


def test_tables_hold_what_the_table_says(folder: Path, tmp_path: Path) -> None:
    """The document that the browser has built: one picture, nothing from elsewhere, cells computed from table.parquet."""
    document = browse(folder / "report.html", tmp_path, "--dump-dom")
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]{0,40})""", document)
    assert sum(address.startswith("data:image/png;base64,") for address in addresses) == 1
    assert not [address for address in addresses if not address.startswith(("data:", "#"))]
    table = pd.read_parquet(folder / "table.parquet")
    jsd = table[(table["metric"] == "jsd") & (table["trajectories"] == table["trajectories"].max())]
    for arm, values in jsd.groupby("arm", observed=True)["value"]:
        name = str(arm).replace("_", "_<wbr>")
        row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', document)
        assert row is not None
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
        assert cells[0] == f"{values.median():.3g} ({values.min():.3g} to {values.max():.3g})"
        assert cells[-1] == "2"
    assert "<title>quickstart: report</title>" in document


def test_the_figure_is_painted(folder: Path, tmp_path: Path) -> None:
    """A figure that could not be decoded leaves no colors; the same page without its data shows that."""
    whole = folder / "report.html"
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub(r"base64,[^\"]+", "base64,iVBORw0KGgo=", whole.read_text()))
    assert colored(painted(whole, tmp_path, "1200,900")) > 20 * (1 + colored(painted(broken, tmp_path, "1200,900")))


def test_a_narrow_window_does_not_cut_the_page(folder: Path, tmp_path: Path) -> None:
    """On a telephone tables scroll in themselves: the margin at the right stays empty from top to bottom."""
    pixels = painted(folder / "report.html", tmp_path, "500,4000")
    margin = pixels[:, -8:]
    assert (margin == margin[0, 0]).all()


MEASURE = """<script>
const inside = [...document.querySelectorAll(".wide")].map(box => {
  box.scrollLeft = 1e6;
  const edges = box.getBoundingClientRect(), row = box.querySelector("tbody tr:last-child").children;
  const first = row[0].getBoundingClientRect(), last = row[row.length - 1].getBoundingClientRect();
  return {moves: box.scrollLeft > 0, first: first.left - edges.left, last: last.right - edges.right, names: first.width};
});
const page = document.documentElement;
document.title = JSON.stringify({stretched: page.scrollWidth - page.clientWidth, inside});
</script>"""


@pytest.mark.parametrize("width", [500, 1200])
def test_wide_tables_scroll_in_their_own_box(width: int, folder: Path, tmp_path: Path) -> None:
    """The page is as wide as the window; a table that is wider moves under its first column, up to its last one."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    policy = re.compile(r"<meta http-equiv=.Content-Security-Policy[^>]*>")
    columns = "".join(f"<td>{'_'.join(['wide'] * 9)} {n}</td>" for n in range(12))
    wider = policy.sub("", page).replace("</tr>\n</tbody>", f"{columns}</tr>\n</tbody>")
    (tmp_path / "wider.html").write_text(wider.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    document = browse(tmp_path / "wider.html", tmp_path, f"--window-size={width},900", "--dump-dom")
    found = json.loads(html.unescape(re.findall(r"<title>(.*?)</title>", document)[0]))
    assert found["stretched"] == 0
    assert len(found["inside"]) > 2
    for box in found["inside"]:
        assert box["moves"]
        assert box["first"] == pytest.approx(0, abs=1)
        assert box["last"] == pytest.approx(0, abs=1)
        assert 80 < box["names"] <= 0.4 * width + 1  # never letter by letter


def test_dark(folder: Path, tmp_path: Path) -> None:
    """Light text on a dark page where the reader wants it so."""
    browse(folder / "report.html", tmp_path, "--blink-settings=preferredColorScheme=0", f"--screenshot={tmp_path / 'dark.png'}")
    assert np.asarray(Image.open(tmp_path / "dark.png").convert("L"))[0, 0] < 60
