"""Draw an experiment's figure from the files of its runs, or from its committed results without a run.

    gfn-vi-figure experiment=quickstart [preset=smoke] [x=reward_calls] [statistic=iqm] [output_root=outputs]
    gfn-vi-figure experiment=quickstart source=results          redraws the committed figure, without a run
    gfn-vi-figure experiment=quickstart export=add              adds the finished runs to the committed results

Collects outputs/<experiment> (outputs/<experiment>_smoke with preset=smoke, and so on; laptop is the size without a suffix),
writes its table (table.parquet, table.csv), what experiments/<experiment>/figure.py draws of it (figure.pdf, figure.png), and the
numbers of it (summary.csv, improvement.csv, and what `tables` of that figure.py returns), all into that folder. Of several
roots, output_root=outputs,laptop/outputs, the runs are joined, each once, and all is written into the folder joined. x:
trajectories, reward_calls, score_calls (of densities) or seconds; statistic: median, mean or iqm (interquartile mean). An
experiment is one of the package, or a folder of experiments/ in the working folder, which goes first.

source=results draws from experiments/<experiment>/results (results/<preset> for another size) into outputs/<experiment>_results
and says whether the picture is the committed one to the pixel. export=add puts the finished runs of the folder, also of a sweep
that is not done, beside those that are committed (a run that is there already stays as it is) and makes the committed figure,
tables and claims anew; export=replace forgets what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from gfn_vi.analysis.experiments import draw, find_experiment, folder_of, presets
from gfn_vi.analysis.results import draw_results, export
from gfn_vi.core.command_line import command
from gfn_vi.runs.folders import TableError
from gfn_vi.terminal.arguments import answers_in_one_line, parser_of

KEYS = {
    "experiment": None,
    "preset": None,
    "output_root": "outputs",
    "x": None,
    "statistic": None,
    "source": "runs",
    "export": None,
}
VALUES = {
    "preset": presets(),
    "x": ("trajectories", "reward_calls", "score_calls", "seconds"),
    "statistic": ("median", "mean", "iqm"),
    "source": ("runs", "results"),
    "export": ("add", "replace"),
}


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure that the arguments ask for and return the exit status (2: a clear one-line error on stderr)."""
    from gfn_vi.runs.presets import remark_on

    parser = parser_of("figure", __doc__)
    parser.add_argument("keys", nargs="*", metavar="key=value", help="experiment=NAME (needed), preset=..., output_root=FOLDER")
    given = parser.parse_args(arguments).keys
    options = parse(given)
    experiment = find_experiment(options["experiment"])
    roots = str(options["output_root"]).split(",")
    folders = [folder_of(experiment.name, options["preset"], root) for root in roots]
    folder = folders[0]
    drawing = {key: value for key in ("x", "statistic") if (value := options[key]) is not None}
    if options["export"] is not None:
        if drawing or options["source"] == "results":
            raise TableError(
                f"export={options['export']}: the committed figure is drawn from runs, as it is without x and statistic"
            )
        if len(folders) > 1:
            one = f"one output_root at a time: export={options['export']}, then export=add for each of the others"
            raise TableError(f"output_root={options['output_root']}: {one}")
        anew = options["export"] == "replace"
        print(*export(experiment, folder, options["preset"], anew, print), sep="\n")
        return 0
    if options["source"] == "results":
        beside = folder.with_name(f"{folder.name}_results")
        print(*draw_results(experiment, options["preset"], beside, drawing, print), sep="\n")
        return 0
    print(*draw(experiment, folders, " ".join([command("figure"), *given]), drawing), sep="\n")
    if remark := remark_on(*folders):
        print(remark)
    return 0


def parse(given: Sequence[str]) -> dict[str, str | None]:
    """Return the keys and values of words key=value, with defaults; raises TableError for anything else."""
    options: dict[str, str | None] = dict(KEYS)
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise TableError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        if value not in VALUES.get(key, (value,)):
            raise TableError(f"{word}: expected one of {', '.join(VALUES[key])}")
        options[key] = value
    return options
