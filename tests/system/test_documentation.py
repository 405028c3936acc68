"""The pages of docs/: their commands run, they show their examples as they stand, and their links lead somewhere on a forge.

What the site makes of them is in test_site.py; the commands of the README and of pages like it run in test_readme.py.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gfn_vi
from gfn_vi.commands import prune
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.targets.grids.rewards import CornersReward
from system.command import ROOT, _context, records, run_command
from system.test_readme import commands, commands_that_run

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("notebooks/*.ipynb"), *(ROOT / "experiments").glob("*/*.md")]
SCRIPT = re.compile(r"python (?:\.\./\.\./)?scripts/(\w+)\.py")
# Page -> the files below docs/examples that it shows.
SHOWN = {
    "own_target.md": ["my_targets.py", "my_configs/target/my_target.yaml"],
    "own_objective.md": ["my_objectives.py", "my_configs/objective/my_objective.yaml"],
    "own_exploration.md": ["my_explorations.py", "my_configs/exploration/my_exploration.yaml"],
    "own_network.md": ["my_networks.py", "my_configs/sampler/my_network.yaml"],
    "own_metric.md": ["my_metrics.py", "my_configs/metric/my_metric.yaml"],
    "verifying.md": ["exact_gradients.py"],
}
# How-to page -> what its last command has to record or print.
RECORDED = {"own_target.md": "jsd", "own_objective.md": "loss", "own_exploration.md": "batch_length", "own_network.md": "loss"}
RECORDED |= {"own_metric.md": "best_log_reward"}


def module_of(path: Path) -> Any:
    """Return the module in a file that is on no search path."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run_page(name: str, folder: Path) -> list[Path]:
    """Run the commands of a page with a hundredth of the trajectories, and return the run directories that they print."""
    shutil.copytree(EXAMPLES, folder / "docs/examples")
    directories = []
    for command in commands((DOCS / name).read_text(encoding="utf-8")):
        if command in commands_that_run():  # of test_readme.py
            continue
        where, _, rest = command.rpartition(" && ")
        script = SCRIPT.match(rest)
        if script is None:  # what makes the environment in which this runs
            assert rest in ("make setup", "source .venv/bin/activate"), rest
            continue
        current = folder / where.removeprefix("cd ")
        words = rest[script.end() :].replace("n_trajectories=6400", "n_trajectories=128").split()
        words += ["pictures=false"] if script[1] == "train" else []  # those of test_readme.py draw them
        outcome = run_command(script[1], words, current)
        assert outcome.code == 0, f"{command}\n{outcome.err}"
        if script[1] == "train" and "-m" not in words:
            directories.append(current / outcome.directory)
    return directories


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in SHOWN.items() for name in names])
def test_page_shows_the_file_as_it_stands(page: str, name: str) -> None:
    language = "yaml" if name.endswith("yaml") else "python"
    shown = f"`{name}`:\n\n```{language}\n{(EXAMPLES / name).read_text(encoding='utf-8').strip()}\n```"
    assert shown in (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECORDED)
def test_how_to_page(name: str, tmp_path: Path) -> None:
    """Its command trains with the files that it shows."""
    last = run_page(name, tmp_path)[-1]
    assert RECORDED[name] in {row["metric"] for row in records(last)}
    module = SHOWN[name][0].removesuffix(".py")
    assert f"_target_: {module}." in (last / "config.yaml").read_text(encoding="utf-8")


def test_start_page(tmp_path: Path) -> None:
    assert len(run_page("start.md", tmp_path)) >= 2
    assert (tmp_path / "outputs/first/report.html").is_file()


def shown_words() -> dict[str, list[str]]:
    """Return "page: words" -> the words of each training command that a page shows, but for those where the reader fills in more.

    Searches are left out, which choose their runs as they go, and what other tests run.
    """
    found, run_elsewhere = {}, {"docs/experiments.md", "docs/start.md"}  # in test_own_experiment.py and here
    ran = {SCRIPT.sub("", command).strip() for command in commands_that_run()}
    for path in (page for page in PAGES if page.relative_to(ROOT).as_posix() not in run_elsewhere):
        blocks = re.findall(r"^```(?:bash)?\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for line in "".join(blocks).replace("\\\n", " ").splitlines():
            command = re.match(r"(?:python scripts/train\.py|gfn-vi-train)\s(?P<words>[^<]*)$", line)
            words = [] if command is None else shlex.split(command["words"], comments=True)
            is_whole = "..." not in line and not line.endswith("=") and not {"--help", "--cfg", "--info"} & set(words)
            if (
                words
                and is_whole
                and shlex.join(words) not in ran
                and not any(word.startswith(prune.OF_SEARCHES) for word in words)
            ):
                found[f"{path.name}: {shlex.join(words)}"] = words
    return found


def _compose(lines: list[list[str]], folder: str, answers: str) -> None:
    """Compose what each of the command lines asks for, a sweep by the command that lists it; write what was said of each."""
    os.chdir(folder)
    found = []
    for words in lines:
        said = ""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                if "-m" in words:
                    sys.argv = ["gfn-vi-prune", *words]
                    prune.main()
                    said = "" if "no runs here" in out.getvalue() else err.getvalue()
                elif "--config-dir" in words:
                    gfn_vi.compose(words[2:], config_dir=words[1])
                else:
                    gfn_vi.compose(words)
            except gfn_vi.ConfigError as error:
                said = str(error)
            except SystemExit:
                said = err.getvalue()
        found.append(said)
    Path(answers).write_text(json.dumps(found), encoding="utf-8")


def test_the_keys_of_every_shown_command_are_read(tmp_path: Path) -> None:
    """Of commands, too, that train for hours or need a cluster or a file of the reader's: here nothing is trained."""
    shown = shown_words()
    assert len(shown) > 30
    shutil.copytree(EXAMPLES, tmp_path / "docs/examples")
    shutil.copytree(EXAMPLES / "my_configs", tmp_path / "my_configs")
    for name in ("my.csv", "blocks.json", "best_params.pkl.gz"):
        (tmp_path / name).write_text("is not read here")
    process = _context().Process(target=_compose, args=(list(shown.values()), str(tmp_path), str(tmp_path / "answers.json")))
    process.start()
    process.join()
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert {line: said for line, said in zip(shown, answers, strict=True) if said} == {}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_compose_what_is_public(path: Path) -> None:
    """They import modules that the reference shows, and no name with a leading underscore."""
    public = {name for names in module_of(ROOT / "scripts/documentation/pages.py").packages().values() for name in names}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gfn_vi"):
            assert node.module in public
            assert not [alias.name for alias in node.names if alias.name.startswith("_")]
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("gfn_vi.")]
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.endswith("__")


def test_every_choice_is_on_its_page() -> None:
    """Of each group but experiments, which have pages of their own, and what is set for Hydra."""
    found = [path for path in ROOT.glob("configs/*/*.yaml") if path.parent.name not in ("experiment", "hydra")]
    assert len(found) > 100
    text = (DOCS / "choices.md").read_text(encoding="utf-8")
    assert [str(path) for path in found if f"`{path.stem}`" not in text] == []


def test_the_exploration_caps_the_stop() -> None:
    """Probabilities sum to 1, the stop has min(P_F, cap), the others keep their ratios; a state without moves stops."""
    tilt = module_of(EXAMPLES / "my_explorations.py").CappedStop(cap=0.2).tilt(0)
    mask = torch.tensor([[True, True, False, True], [True, True, True, True], [False, False, False, True]])
    policy = torch.tensor([[0.1, 0.3, 0, 0.6], [0.5, 0.25, 0.15, 0.1], [0, 0, 0, 1]], dtype=torch.float64)
    tilted = tilt(policy.log().clamp(min=-1e30), mask).exp()
    expected = torch.tensor([[0.2, 0.6, 0, 0.2], [0.5, 0.25, 0.15, 0.1], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(tilted, expected, rtol=0, atol=1e-15)


def test_the_network_of_a_replica_is_that_of_its_seed() -> None:
    """Replica 1 of seed 3 is seed 4 alone, in every head; log Z and the trunk are all parameters, each once."""
    grid = Hypergrid(n_dims=2, side=4, r0=0.01, reward=CornersReward(r1=0.5, r2=2.0), max_enumerated_states=100)
    network = module_of(EXAMPLES / "my_networks.py").ResidualSampler

    def made(seed: int, replicas: int) -> Any:
        rng = ReplicaGenerators(seed, replicas, "initialization", dtype=torch.float64)
        return network(grid, rng, width=8, n_blocks=2, backward="tied", flow=True, log_Z=0.0)

    two, one = made(3, 2), made(4, 1)
    states = grid.state_graph().states
    heads = [sampler.heads(states.expand(sampler.n_replicas, *states.shape), list(Role)[:3]) for sampler in (two, one)]
    for role in (Role.FORWARD, Role.BACKWARD, Role.FLOW):
        torch.testing.assert_close(heads[0][role][1:], heads[1][role], rtol=0, atol=1e-14)
        assert heads[1][role].std() > 0.01
    named = [id(parameter) for group in two.parameter_groups().values() for parameter in group]
    assert sorted(named) == sorted(map(id, two.parameters()))


# -- links, as a forge follows them --------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return the names of the headings of a page, as forges make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title)).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", sorted(PAGES), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_on_a_forge(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        address, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        target = (path.parent / address).resolve() if address else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT.resolve()), link
        assert not anchor or anchor in anchors(target), link


def test_the_picture_is_what_its_script_draws(tmp_path: Path) -> None:
    module_of(ROOT / "scripts/documentation/idea.py").main(tmp_path / "idea.svg")
    assert (tmp_path / "idea.svg").read_bytes() == (DOCS / "figures/idea.svg").read_bytes()


# -- files that others read ------------------------------------------------------------------------------------------------


def test_citation() -> None:
    """What readers of CITATION.cff need is there, and the version is that of the package."""
    from gfn_vi import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)  # what schema 1.2.0 demands
    assert cited["type"] == "software"
    assert str(cited["version"]) == __version__
    assert cited["references"][0]["url"].endswith("2210.00580")


def test_bash_completes_choices_and_keys(tmp_path: Path) -> None:
    """Hydra's completion in a real bash, of the command as pip installs it."""
    script = tmp_path / "gfn-vi-train"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom gfn_vi.commands.train import main\nsys.exit(main())\n")
    script.chmod(0o755)
    typed = """
    eval "$(gfn-vi-train -sc install=bash)"
    for line in "gfn-vi-train objective=re" "gfn-vi-train target.si"; do
        COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=($line) COMP_CWORD=1
        hydra_bash_completion
        echo "${COMPREPLY[*]}"
    done
    """
    bash = shutil.which("bash")
    assert bash is not None
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([bash, "-c", typed], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["objective=renyi_alpha objective=reverse_kl objective=reverse_wake_sleep", "target.side="]
