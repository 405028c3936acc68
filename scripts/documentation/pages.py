"""A hook of mkdocs: the pages of the site that lie elsewhere in the repository, notebooks, and links that lead to files of it.

Every link is written as the forge reads it, relative to the file that it stands in. On the site README.md is the home page,
an experiment's README.md with its results a page each, a notebook of docs/ a page with its outputs, and any other file or
folder that a page links to is shown as it is, below files/. Nothing is copied in the repository. The reference has a page for
each package of REFERENCE.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Pages that stand in the root of the repository.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# What others build on: shown in the reference, imported by examples.
REFERENCE = ("interface", "core", "targets", "samplers", "exploration", "objectives", "evaluation", "training")
# Of these only some modules, what stands first in a reader's way first; the others serve them.
CHOSEN = {
    "gfn_vi.interface": ("run", "samples"),
    "gfn_vi.core": (
        *("types", "protocols", "replicas", "state_graph", "log_probability", "schedules", "headline", "reliability"),
        "errors",
    ),
}
LINK = re.compile(r"(\]\(|\bsrc=\"|\bhref=\")([^)\s\"]+)")
FENCE = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", re.DOTALL | re.MULTILINE)
# A table of pandas brings its own style; the site has one for tables.
PANDAS = re.compile(r"<style scoped>.*?</style>\s*<table border=\"1\" class=\"dataframe\">", re.DOTALL)
CODE = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".sh": "bash", ".json": "json"}
# Files that a page offers as they are; a page shows any other.
AS_THEY_ARE = (".csv", ".gz", ".npz", ".parquet", ".pdf", ".png", ".svg", ".tex")

# Address on the site -> path in the repository, of every page that has one.
_source: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every experiment and every page of the reference into the navigation."""
    assert config.nav is not None
    for entry in config.nav:
        if "Experiments" in entry:
            entry["Experiments"] = [entry["Experiments"], *({e.name: f"experiments/{e.name}/index.md"} for e in experiments())]
        if "Reference" in entry:
            entry["Reference"] = [entry["Reference"], *({name: f"reference/{name}.md"} for name in packages())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, then whatever they and the others link to."""
    from mkdocs.structure.files import File

    _source.clear()
    _source.update({file.src_uri: f"docs/{file.src_uri}" for file in files.documentation_pages()})
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}

    def add(path: str, text: str, is_page: bool = True) -> None:
        uri = address(path)
        if is_page:
            _source[uri] = path
            texts[path] = text
        files.append(File.generated(config, uri, content=text))

    for path in PAGES:
        add(path, (ROOT / path).read_text(encoding="utf-8"))
    for file in sorted((ROOT / "docs").glob("notebooks/*.ipynb")):
        text, pictures = notebook(file)
        add(file.relative_to(ROOT).as_posix(), text)
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for folder in experiments():
        add(f"experiments/{folder.name}", with_figure(folder))
    add("experiments", gallery())
    for name, modules in packages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=reference(name, modules)))
    files.append(File.generated(config, "reference/index.md", content=contents()))
    waiting = list(texts)
    known = {file.src_uri for file in files}
    while waiting:
        path = waiting.pop()
        for target in sorted(links(texts[path], path)):
            uri = address(target)
            if uri not in known and (ROOT / target).exists():
                known.add(uri)
                if uri.endswith(".md"):
                    add(target, shown(target))
                    waiting.append(target)
                else:
                    files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links within the repository into links within the site."""
    path = _source.get(page.file.src_uri)
    if path is None:
        return markdown
    here = posixpath.dirname(page.file.src_uri)

    def on_site(target: str, anchor: str) -> str:
        return posixpath.relpath(address(target), here or ".") + anchor

    return outside_of_code(markdown, lambda text: LINK.sub(lambda match: match[1] + followed(match[2], path, on_site), text))


def experiments() -> list[Path]:
    """Return the folders of all experiments, by name."""
    return sorted(path.parent for path in (ROOT / "experiments").glob("*/README.md"))


def address(path: str) -> str:
    """Return where the site has a file or folder of the repository: the source address of a page, or of a file as it is."""
    if path in PAGES:
        return PAGES[path]
    is_folder = (ROOT / path).is_dir()
    path = path.removesuffix("/README.md") if path.startswith("experiments/") else path
    if path.startswith("docs/") and not path.startswith("docs/examples"):
        path = path.removeprefix("docs/")
        return f"{path.removesuffix('.ipynb')}.md" if path.endswith(".ipynb") else path
    if path == "experiments" or path.startswith("experiments/"):
        if is_folder or (ROOT / path).is_dir():
            return f"{path}/index.md"
        if path.endswith((".md", *AS_THEY_ARE)):
            return path
    if path.endswith(AS_THEY_ARE):
        return f"files/{path}"
    return f"files/{path}/index.md" if is_folder else f"files/{path}.md"


def followed(link: str, path: str, on_site: Callable[[str, str], str]) -> str:
    """Return the link as on_site(target in the repository, anchor) has it; one to elsewhere, or within the page, as it is."""
    address_, mark, anchor = link.partition("#")
    if not address_ or re.match(r"[a-z]+:", address_):
        return link
    folder = path if (ROOT / path).is_dir() else posixpath.dirname(path)
    target = posixpath.normpath(posixpath.join(folder, address_))
    return on_site(target, mark + anchor) if (ROOT / target).exists() else link


def links(text: str, path: str) -> set[str]:
    """Return the files and folders of the repository that a page links to."""
    found: set[str] = set()

    def note(target: str, anchor: str) -> str:
        found.add(target)
        return ""

    outside_of_code(text, lambda part: LINK.sub(lambda match: followed(match[2], path, note), part))
    return found


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Return the Markdown with everything but its fenced blocks changed."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def with_figure(folder: Path) -> str:
    """Return the page of an experiment; where it does not show its figure itself, after the title."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    if "(results/figure.png)" in text or not (folder / "results/figure.png").is_file():
        return text
    title, _, rest = text.partition("\n")
    return f"{title}\n\n![The figure of {folder.name}](results/figure.png)\n{rest}"


def gallery() -> str:
    """Return the page of all experiments: their titles, their questions, their figures."""
    parts = ["# Experiments\n\nOne folder per claim: the question, the command, the figure, what was measured."]
    for folder in experiments():
        text = (folder / "README.md").read_text(encoding="utf-8")
        question = re.search(r"\*\*Question\.\*\* (.*?)\n\n", text, re.DOTALL)
        title = text.splitlines()[0].partition(": ")[2]
        parts.append(f"## [{folder.name}]({folder.name}/)\n\n**{title[:1].upper()}{title[1:]}**")
        parts += [question[1]] if question else []
        if (folder / "results/figure.png").is_file():
            parts.append(f"[![The figure of {folder.name}]({folder.name}/results/figure.png)]({folder.name}/)")
    return "\n\n".join(parts) + "\n"


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook with the outputs that it holds as Markdown, and its pictures by the names that the text has for them."""
    from nbconvert import MarkdownExporter

    name = path.stem
    text, resources = MarkdownExporter().from_filename(str(path), {"unique_key": name, "output_files_dir": f"{name}_files"})
    text = PANDAS.sub("<table>", text).replace("![png](", "![What the lines above draw](")
    return text, resources["outputs"]


def shown(path: str) -> str:
    """Return a page that shows a file of the repository as it is, or lists a folder."""
    file = ROOT / path
    if file.suffix == ".md":
        return file.read_text(encoding="utf-8")
    if file.is_dir():
        entries = sorted(entry for entry in file.iterdir() if not entry.name.startswith(("_", ".")))
        listed = "\n".join(f"* [{entry.name}]({entry.name})" for entry in entries)
        return f"# {path}\n\n{listed}\n"
    text = file.read_text(encoding="utf-8")
    return f"# {path}\n\n````{CODE.get(file.suffix, 'text')}\n{text.rstrip()}\n````\n"


def packages() -> dict[str, list[str]]:
    """Return package -> its modules that say something, of every package of the reference; first what a program starts from."""
    found = {"gfn_vi": ["gfn_vi"]}
    for room in REFERENCE:
        for init in sorted((ROOT / "gfn_vi" / room).rglob("__init__.py")):
            package = ".".join(init.parent.relative_to(ROOT).parts)
            modules = [f"{package}.{file.stem}" for file in sorted(init.parent.glob("*.py")) if not file.stem.startswith("_")]
            if modules:
                found[package] = modules
    return found | {package: [f"{package}.{name}" for name in names] for package, names in CHOSEN.items()}


def reference(name: str, modules: list[str]) -> str:
    """Return the page of a package: mkdocstrings fills it."""
    return "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)]) + "\n"


def contents() -> str:
    """Return the first page of the reference: a line for each package."""
    rows = ["| package | what is in it |", "| --- | --- |"]
    rows += [f"| [{name}]({name}.md) | {first_line(name)} |" for name in packages()]
    return "\n".join(["# Reference\n\n[The house](../house.md) says how the rooms belong together.\n", *rows]) + "\n"


def first_line(package: str) -> str:
    """Return the first line of a package's docstring, its underscores as they are."""
    text = (ROOT.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].replace("_", "\\_")
