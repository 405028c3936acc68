"""The site as it is built: strictly, without network, and every link of every page leads to a page and a place on it."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from system.command import ROOT


class Links(HTMLParser):
    """The names of places on a page, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if "src" in found or (tag == "link" and found.get("rel") not in ("canonical", "prev", "next")):
            self.loads.add(found.get("src") or found["href"])
        elif "href" in found:
            self.links.add(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = re.search(r"\$\(PY\) (-m mkdocs .*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert made is not None
    assert "--quiet" not in made[1]  # then warnings would not be counted, and --strict would pass everything
    command = [sys.executable, *made[1].split(), "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path) for path in site.rglob("*.html")}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    wrong = []
    for path, page in pages.items():
        for link in page.links | page.loads:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # that page is shown at any address, so its links start at the root
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site.resolve()) or not target.exists():
                wrong.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                wrong.append(f"{path.relative_to(site)}: {link} (no such place)")
    assert wrong == []


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Links]) -> None:
    assert {load for page in pages.values() for load in page.loads if urlsplit(load).netloc} == set()


def test_every_experiment_is_there_with_its_figure(site: Path, pages: dict[Path, Links]) -> None:
    folders = [path.parent.name for path in (ROOT / "experiments").glob("*/README.md")]
    assert len(folders) >= 12
    for name in folders:
        assert "results/figure.png" in pages[site / f"experiments/{name}/index.html"].loads
        assert (site / f"experiments/{name}/results/figure.png").read_bytes()[:4] == b"\x89PNG"


def test_notebooks_are_pages_with_their_pictures(site: Path, pages: dict[Path, Links]) -> None:
    names = [path.stem for path in (ROOT / "docs/notebooks").glob("*.ipynb")]
    assert names
    for name in names:
        page = site / f"notebooks/{name}.html"
        assert "scoped" not in page.read_text(encoding="utf-8")  # tables of pandas look as all others do
        pictures = [load for load in pages[page].loads if load.startswith(f"{name}_files/")]
        assert pictures
        assert all((site / "notebooks" / picture).read_bytes()[:4] == b"\x89PNG" for picture in pictures)


def test_the_reference_has_what_others_build_on(site: Path, pages: dict[Path, Links]) -> None:
    places = {place for path, page in pages.items() if path.parent.name == "reference" for place in page.places}
    wanted = ["gfn_vi.check_target", "gfn_vi.core.types.Evaluation.residual", "gfn_vi.targets.base.BaseTarget"]
    wanted += ["gfn_vi.objectives.base.BaseObjective", "gfn_vi.evaluation.base.BaseMetric", "gfn_vi.training.trainer.Trainer"]
    assert set(wanted) <= places


def test_docstrings_are_text(site: Path) -> None:
    """Stars are no emphasis, underscores too, brackets no links, and <weights> is no tag."""
    core = (site / "reference/gfn_vi.core.html").read_text(encoding="utf-8")
    assert "<p>Return the source state, repeated: [*leading, *state].</p>" in core
    sampled = (site / "reference/gfn_vi.evaluation.sampled.html").read_text(encoding="utf-8")
    assert (
        "<p>Return &lt;weights&gt;_n_effective and &lt;weights&gt;_pareto_k of log-weights [R, n]: [R] float64 each.</p>"
        in sampled
    )
