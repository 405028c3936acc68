"""The sweeper of searches: Optuna proposes settings, is told the final headline of their runs; the best are trained longer.

Two stages, as in the paper: short runs on tuning seeds, then of the best ones the best area under the headline's curve. The
study is on disk: the same command again does what is missing of n_trials. Runs are those of any sweep: one that is done
is not trained again, one that was killed goes on.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.command_line import key_of
from gfn_vi.core.errors import require
from gfn_vi.core.seeds import replica_seeds
from gfn_vi.runs.directory import run_name
from gfn_vi.runs.manifest import plan
from gfn_vi.runs.state import PRUNED, look
from gfn_vi.sweeps.jobs import Job, check_jobs, identify, parsed, written
from gfn_vi.sweeps.launcher_checks import check_launcher
from gfn_vi.sweeps.launching import Launches, Outcome, say
from gfn_vi.sweeps.summary import command
from gfn_vi.sweeps.sweeper import JobSweeper
from gfn_vi.terminal.exit_status import EXIT_FAILED, EXIT_INTERRUPTED
from hydra_plugins.gfn_vi.judging import METRIC, Judge
from hydra_plugins.gfn_vi.parallelism import jobs_at_a_time
from hydra_plugins.gfn_vi.pruning import NONE, SPEC, Pruning, check_storage, make_pruner, override
from hydra_plugins.gfn_vi.search_results import (
    Finalist,
    as_table,
    best_settings,
    metrics_of,
    n_pruned,
    overrides_of,
    ranked,
    setting,
    write_results,
    write_trials,
)
from hydra_plugins.gfn_vi.search_space import Space, last_of_each_key, space_of
from hydra_plugins.gfn_vi.study import (
    SPARED,
    make_sampler,
    n_waiting,
    only_search,
    open_study,
    record,
    settled,
    storage_errors,
    take_back,
    take_up_pruned,
    was_tried_before,
)
from hydra_plugins.gfn_vi.study_pictures import draw_study

if TYPE_CHECKING:
    from optuna import Study, Trial


TAKE_UP = "hydra.sweeper.take_up_pruned"
LEAST_BATCHES = 4  # by default: a sampler that never hears how its proposals did draws at random


class SearchSweeper(JobSweeper):
    """The arguments are explained in search.yaml."""

    def __init__(
        self,
        params: Mapping[str, Any],
        metric: str | None,
        direction: str | None,
        n_trials: int,
        n_jobs: int | None,
        sampler: str,
        sampler_arguments: Mapping[str, Any],
        sampler_seed: int,
        pruner: str | None,
        pruner_arguments: Mapping[str, Any] | None,
        take_up_pruned: bool,
        storage: str | None,
        finalists: int,
        finalist_overrides: Sequence[str],
        report_overrides: Sequence[str] | None,
        max_failures: int,
        max_losses: int,
    ) -> None:
        self.params, self.n_trials, self.n_jobs = params, n_trials, n_jobs
        self.judge = Judge(metric, direction)
        self.sampler, self.sampler_arguments, self.sampler_seed = sampler, sampler_arguments, sampler_seed
        self.pruner, self.pruner_arguments, self.take_up_pruned = pruner, pruner_arguments or {}, take_up_pruned
        self.storage, self.finalists = storage, finalists
        self.finalist_overrides, self.report_overrides = list(finalist_overrides), report_overrides
        self.max_failures, self.max_losses = max_failures, max_losses

    def sweep(self, arguments: list[str]) -> None:
        """Called by Hydra with the overrides of the command line; leaves with the exit status unless all is well."""
        require(find_spec("optuna") is not None, "hydra/sweeper", "search", "needs Optuna: pip install 'gfn_vi[optuna]'")
        self.require_counts(n_trials=1, finalists=0, max_failures=1, max_losses=1)
        if self.n_jobs is not None:
            self.require_counts(n_jobs=1)
        space = space_of(parsed(self.loader, [*written(self.params), *arguments]))
        make_sampler(self.sampler, self.sampler_seed, self.sampler_arguments)
        require(isinstance(self.take_up_pruned, bool), TAKE_UP, self.take_up_pruned, "expected true or false")
        make_pruner(self.pruner, self.pruner_arguments)
        check_launcher(self.config.hydra.launcher)
        check_storage(self.pruner, self.storage, self.config.hydra.launcher)
        space.check_numbers(self.config)
        first = identify(self.loader, self.config, [*space.fixed, *overrides_of(space.first())], "the search")
        check_jobs([first])
        self.judge.check(first.config)
        if not first.config["tuning_seeds"]:
            seeds = replica_seeds(first.config["seed"], first.config["replicas"])
            space.fixed.append(f"tuning_seeds=[{','.join(map(str, seeds))}]")
            first = identify(self.loader, self.config, [*space.fixed, *overrides_of(space.first())])
        self._check_stages(space, first.config["tuning_seeds"])
        folder, name = first.directory.parent, _study_name(first, space, self.judge)
        try:
            with only_search(folder, name):
                status = self._search(space, folder, name, first.config)
        except (KeyboardInterrupt, SystemExit):
            say("stopped; the same command goes on with this search")
            sys.exit(EXIT_INTERRUPTED)
        if status:
            sys.exit(status)

    def _check_stages(self, space: Space, tuning_seeds: Sequence[int]) -> None:
        """Refuse overrides of later stages that undo what was found, and reports on the seeds that it was found on."""
        for name, lines in (("finalist_overrides", self.finalist_overrides), ("report_overrides", self.report_overrides or ())):
            for line in lines:
                key = key_of(line)
                advice = f"{key} is searched, and its best value would be listed but not used: leave it out"
                require(key not in space.searched, f"hydra.sweeper.{name}", line, advice)
        if self.report_overrides:
            lines = last_of_each_key([*space.fixed, *overrides_of(space.first()), *self.report_overrides])
            report = identify(self.loader, self.config, lines, "hydra.sweeper.report_overrides").config
            tuned = sorted(set(tuning_seeds) & set(replica_seeds(report["seed"], report["replicas"])))
            advice = f"{tuned} are tuning seeds, whose runs no figure shows: give another seed"
            require(not tuned, "hydra.sweeper.report_overrides", list(self.report_overrides), advice)

    def _search(self, space: Space, folder: Path, name: str, config: Mapping[str, Any]) -> int:
        """Both stages; the exit status."""
        storage = self.storage or f"sqlite:///{(folder / 'search.db').resolve()}"
        with storage_errors(storage):
            study = open_study(name, storage)
            study.sampler = make_sampler(self.sampler, self.sampler_seed + len(study.trials), self.sampler_arguments)
            pruner = make_pruner(self.pruner, self.pruner_arguments)
            if pruner is not None:  # samplers ask for it, too
                study.pruner = pruner
                study.set_user_attr(SPEC, {"name": self.pruner, "arguments": dict(self.pruner_arguments)})
            again, more = take_back(study), take_up_pruned(study) if self.take_up_pruned else n_waiting(study)
            done = len(settled(study))
        left = (f", {again} to go on with" if again else "") + (f", {more} pruned ones to train to their end" if more else "")
        self.check([], [folder / run for trial in study.trials if (run := trial.user_attrs.get("run"))])
        say(f"{name} in {storage}: {done} of {self.n_trials} trials done{left}")
        failed = self._first_stage(study, space, storage, folder)
        with storage_errors(storage):
            write_trials(study, folder)
            if failed >= self.max_failures:
                say(f"error: {failed} trials failed, so the search stops (hydra.sweeper.max_failures); {folder / 'trials.csv'}")
                say("the same command goes on with it")
                return EXIT_FAILED
            finalists = self._second_stage(study, space)
            chosen = self._chosen(space, finalists, config)
            path = write_results(study, storage, folder, config["tuning_seeds"], finalists, chosen)
            pictures = draw_study(study, folder)
            print(as_table(study, finalists))
            if n := n_pruned(study):
                print(f"{n} of {len(settled(study))} settings were pruned; {TAKE_UP}=true trains them to their end")
        print(*pictures, path, sep="\n")
        if chosen is not None:
            print(f"train the chosen settings on other seeds:\n{chosen}")
        print(folder, flush=True)
        if failed:
            say(f"{failed} trials failed; see {folder / 'trials.csv'}")
        lost = [finalist for finalist in finalists if finalist.area is None]
        for finalist in lost:
            say(f"error: finalist {finalist.trial.number} failed: {finalist.error}; the same command tries it again")
        return EXIT_FAILED if lost or (self.finalists and chosen is None) else 0

    def _first_stage(self, study: Study, space: Space, storage: str, folder: Path) -> int:
        """Ask, run and tell until n_trials are complete or pruned, or max_failures failed; how many failed."""
        size = self.n_jobs or min(jobs_at_a_time(self.config.hydra.launcher), math.ceil(self.n_trials / LEAST_BATCHES))
        launches, failed = self._launches(), 0
        while failed < self.max_failures and (left := self._left(study, space)) > 0:
            with storage_errors(storage):
                trials = [study.ask(space.searched) for _ in range(min(size, left))]
                jobs = [self._job(space, trial.params) for trial in trials]
                for trial, job in zip(trials, jobs, strict=True):
                    trial.set_user_attr("run", job.directory.name)
            self.check(jobs)
            plan(jobs)
            with storage_errors(storage):
                judged = [self._judged(study, storage, trial, job) for trial, job in zip(trials, jobs, strict=True)]
            outcomes = {outcome.job.directory: outcome for outcome in launches.run([job for job in judged if job is not None])}
            with storage_errors(storage):
                for trial, job in zip(trials, jobs, strict=True):
                    outcome = outcomes.get(job.directory) or Outcome(job, PRUNED)
                    failed += not _tell(study, trial, outcome, self.judge)
                write_trials(study, folder)
        return failed

    def _left(self, study: Study, space: Space) -> int:
        """Return how many trials are to be asked for: pruned ones that are taken up, and what is missing of n_trials."""
        waiting = n_waiting(study)
        is_exhausted = len({setting(trial) for trial in settled(study)}) >= space.n_points()
        return waiting + (0 if is_exhausted else max(self.n_trials - len(settled(study)), 0))

    def _judged(self, study: Study, storage: str, trial: Trial, job: Job) -> Job | None:
        """Return the job that trains a trial, judged on the way where there is a pruner; None for one that is pruned already."""
        named, sign = self.judge.metric, self.judge.declared_sign()
        if SPARED in trial.user_attrs:
            return job
        about = (storage, study.study_name, trial.number, named, sign, job.config["evaluation"]["every"])
        standing = look(job.directory)
        if standing.state == PRUNED and was_tried_before(study, trial):
            Pruning(job.directory, standing.headline, *about)  # tells the study its curve
            return None
        if self.pruner in (None, NONE) or (named is not None and sign is None):
            return job
        return replace(job, overrides=(*job.overrides, override(*about)))

    def _second_stage(self, study: Study, space: Space) -> list[Finalist]:
        from gfn_vi.analysis.statistics.summary import headline_area

        trials = best_settings(study, self.finalists)
        jobs = [self._job(space, trial.params, self.finalist_overrides) for trial in trials]
        if not jobs:
            return []
        say(f"{len(jobs)} finalist{'s' * (len(jobs) != 1)}: {' '.join(self.finalist_overrides) or 'as they are'}")
        self.check(jobs)
        plan(jobs)
        finalists = []
        for trial, outcome in zip(trials, self._launches().run(jobs), strict=True):
            directory, why, area = outcome.job.directory, _why(outcome), None
            if outcome.state == "done":
                headline = self.judge.headline(directory)
                area = headline.sign * headline_area(directory, headline)
            elif outcome.state == "diverged":  # one that diverged late may have a small area
                area = math.inf
                say(f"finalist {trial.number} diverged, which counts as the worst: {why}\n    {directory}")
            finalists.append(Finalist(trial, directory.name, area, None if outcome.state == "done" else why))
        return finalists

    def _chosen(self, space: Space, finalists: Sequence[Finalist], config: Mapping[str, Any]) -> str | None:
        """The command that trains the best finalist on reporting seeds; None if all failed or diverged."""
        best = ranked(finalists)
        if not best or best[0].area == math.inf:
            return None
        settings = [*overrides_of(best[0].trial.params), *self.finalist_overrides]
        report = self.report_overrides or _on_other_seeds(config)
        tuning_seeds = f"tuning_seeds=[{','.join(map(str, config['tuning_seeds']))}]"
        lines = last_of_each_key([*space.fixed, *settings, *report, tuning_seeds])
        return command(Job(tuple(lines), Path(), {}), self.loader)

    def _job(self, space: Space, parameters: Mapping[str, Any], more: Sequence[str] = ()) -> Job:
        return identify(self.loader, self.config, [*space.fixed, *overrides_of(parameters), *more])

    def _launches(self) -> Launches:
        return Launches(self.launcher, None, self.max_losses)


def _on_other_seeds(config: Mapping[str, Any]) -> list[str]:
    """Overrides that report in a folder of its own, on seeds that follow each other and are no tuning seeds."""
    tuned = config["tuning_seeds"]
    seed = 0 if min(tuned) >= config["replicas"] else max(tuned) + 1
    return [f"experiment_name={config['experiment_name']}_report", f"seed={seed}"]


def _study_name(first: Job, space: Space, judge: Judge) -> str:
    """A name made of what makes trials comparable: the configuration without what is searched, the space, a named metric."""
    identity = f"{run_name(first.config)} {sorted((key, repr(d)) for key, d in space.searched.items())}"
    if judge.metric is not None or judge.direction is not None:
        identity += f" {judge.metric} {judge.direction}"
    return f"search-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _tell(study: Study, trial: Trial, outcome: Outcome, judge: Judge) -> bool:
    """Tell the study how a trial ended: its value, infinity where it diverged, that it was pruned, or that it failed (False)."""
    if outcome.state not in ("done", "diverged", PRUNED):
        return _failed(study, trial, outcome, _why(outcome))
    headline, compared_by = judge.headline(outcome.job.directory), metrics_of(study)
    if not compared_by <= {headline.metric}:
        before = " and ".join(sorted(compared_by))
        why = f"it is judged by {headline.metric}, the trials before it by {before}: name one with {METRIC}"
        return _failed(study, trial, outcome, why)
    trial.set_user_attr("metric", headline.metric)
    trial.set_user_attr("sign", headline.sign)
    if outcome.state == PRUNED:
        say(f"trial {trial.number} was pruned: {outcome.job.directory}")
        record(study, trial, None, is_pruned=True)
        return True
    loss = judge.loss(outcome.job.directory)
    if outcome.error:
        trial.set_user_attr("error", outcome.error)
    record(study, trial, loss)
    return True


def _failed(study: Study, trial: Trial, outcome: Outcome, why: str) -> bool:
    """Record and say that the trial failed, and why; return False."""
    trial.set_user_attr("error", why)
    say(f"trial {trial.number} failed: {outcome.job.directory}\n    {why}")
    record(study, trial, None)
    return False


def _why(outcome: Outcome) -> str:
    return outcome.error or f"it is {outcome.state}"
