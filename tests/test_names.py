"""The rules of the house on names, files and words: what nobody may write.

Every rule is tried as those on imports are (test_architecture.py): on violations of itself, on sound files, on every file.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from sources import PACKAGE, SOUND, Rule, Source, dotted, trials_of

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

# The exact metrics, and the rate schedule that watches one: the oracle of arXiv 2210.00580, under a name that says so.
KNOW_JSD = ("evaluation/exact", "training/rate_schedules.py")
# Rooms whose public docstrings are sentences.
ROOMS_OF_SENTENCES = (
    "core",
    "interface",
    "runs",
    "samplers",
    "exploration",
    "objectives",
    "evaluation",
    "training",
    "verification",
)
FEWEST_WORDS = 4
TEXT_FILES = ("read_text", "write_text", "FileHandler")
PROCESSES = ("run", "Popen", "check_output", "check_call")

# The files of a run and the columns of its numbers: as in gfn_vi/runs/files.py, which a test below compares.
RUN_FILES = (
    *("config.yaml", "status.json", "metrics.csv", "arrays.npz", "run.log", "run.lock", "run.owner", "checkpoint.pt"),
    "sent.json",
    "sweep.json",
)
COLUMNS = ("step", "trajectories", "reward_calls", "wall_seconds", "replica", "metric", "value")


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


def exact_metrics_alone_know_their_headline(source: Source) -> list[str]:
    """A run is judged by the headline that its metrics declare: nobody else says JSD in a text or a name of the code."""
    if any(source.path.is_relative_to(source.root / PACKAGE / place) for place in KNOW_JSD):
        return []
    documentation = {id(node) for _, node in docstrings(source.tree)}
    found = [
        (text, getattr(node, "lineno", 1))
        for node in ast.walk(source.tree)
        if id(node) not in documentation
        for _, text in ast.iter_fields(node)
        if isinstance(text, str) and "jsd" in text.lower()
    ]
    return [source.at(line, f"{text}: ask for the run's headline (gfn_vi/core/headline.py)") for text, line in found]


def telling_docstrings(source: Source) -> list[str]:
    """A public docstring is a sentence that stands without the name: four words or more, and a period."""
    if source.room not in ROOMS_OF_SENTENCES:
        return []
    violations = []
    for name, node in docstrings(source.tree):
        text = inspect.cleandoc(node.value)
        words = [word for word in text.split() if word[0].isalpha()]
        if is_public(name) and (len(words) < FEWEST_WORDS or not text.endswith(".")):
            violations.append(source.at(node.lineno, f'"{text[:40]}": say it in a sentence of {FEWEST_WORDS} words or more'))
    return violations


def texts_in_utf8(source: Source) -> list[str]:
    """A file of text is read and written in an encoding that is said: that of the locale is another one elsewhere."""
    violations = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and not any(keyword.arg == "encoding" for keyword in node.keywords):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant)]
            of_text = name == "open" and isinstance(node.func, ast.Name) and not any("b" in str(mode) for mode in modes)
            of_process = name in PROCESSES and any(keyword.arg == "text" for keyword in node.keywords)
            if of_text or of_process or name in TEXT_FILES:
                violations.append(source.at(node.lineno, f'{name}: add encoding="utf-8"'))
    return violations


def is_public(name: str) -> bool:
    return not any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def docstrings(node: ast.AST, above: str = "") -> Iterator[tuple[str, ast.Constant]]:
    """(dotted name, the text) of every docstring of the tree; functions inside of functions are private."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        name = "" if isinstance(node, ast.Module) else f"{above}.{node.name}".removeprefix(".")
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            yield name, first.value
        above = name if isinstance(node, ast.Module | ast.ClassDef) else f"{name}._"
    for child in ast.iter_child_nodes(node):
        yield from docstrings(child, above)


# Rule -> violations of it: the files of a little gfn_vi, of which the first breaks the rule in every given way.
BROKEN: dict[Rule, list[dict[str, str]]] = {
    telling_file_names: [{"targets/utils.py": ""}, {"common.py": ""}],
    runs_alone_know_their_files: [
        {"run.py": "path = folder / 'metrics.csv'"},
        {"hydra_plugins/a.py": "path = f'{run}/status.json'"},
        {"analysis/a.py": "names = ['step', 'trajectories', 'replica', 'metric', 'value']"},
        {"analysis/a.py": "types = {'step': 1, 'trajectories': 1, 'replica': 2, 'metric': 3, 'value': 4}"},
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
    exact_metrics_alone_know_their_headline: [
        {"analysis/a.py": "rows = table[table['metric'] == 'jsd']"},
        {"training/trainer.py": "def final_jsd():\n    pass"},
        {"evaluation/sampled/a.py": "words = f'exact JSD {1}'"},
        {"commands/a.py": "from gfn_vi.core.a import WORST_JSD"},
    ],
    texts_in_utf8: [
        {"core/a.py": "text = path.read_text()"},
        {"core/a.py": "path.write_text('a')"},
        {"core/a.py": "file = open(path, newline='')"},
        {"core/a.py": "import logging\nhandler = logging.FileHandler(path)"},
        {"core/a.py": "import subprocess\nsubprocess.run(words, text=True)"},
    ],
    telling_docstrings: [
        {"core/a.py": 'def f():\n    """[R, B]."""'},
        {"core/a.py": 'class A:\n    def __call__(self):\n        """Return the loss."""'},
        {"core/a.py": '"""Losses and what they are estimated from"""'},
    ],
}
test_rule_finds_its_violation, test_rule_lets_sound_files_pass, test_file_keeps_the_rule = trials_of(BROKEN, SOUND)


def test_the_names_of_files_are_those_that_runs_spells() -> None:
    from gfn_vi.runs import files

    spelled = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    assert spelled == set(RUN_FILES)
    assert files.COLUMNS == COLUMNS
