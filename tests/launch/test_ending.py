"""``cluster.on_end``: a command at the end of a sweep."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from dst.run.outcome import write_failure
from launch.ending import run_on_end
from launch.plan import Plan
from tests.launch.study import Study

COMMAND = 'sleep 0.2; echo "$DST_SWEEP in $DST_OUTPUT_DIR, ${0##*/}" | tee -a told.txt; exit 3'


def test_the_command_runs_once_at_each_end_of_the_sweep_with_its_name_and_folder(study: Study) -> None:
    runs = study.plan("sweep", "recipe.epochs=0", "seed=1,2")
    told = study.folder / "told.txt"
    line = f"sweep in {study.output_dir}, sh\n"
    submit = ("submit", "sweep=sweep", "cluster=local", f"cluster.on_end={COMMAND}")
    study.launch(*submit, "where=seed == 1")
    assert not told.exists()
    assert "the command at the end of the sweep ended with exit code 3" in study.launch(*submit)
    assert told.read_text() == line
    assert (study.output_dir / "sweeps" / "sweep" / "on_end.log").read_text() == line
    study.launch(*submit)  # nothing to train: the sweep does not end again
    assert told.read_text() == line
    (study.run_dir(runs[0]) / "summary.json").unlink()
    study.launch(*submit)
    assert told.read_text() == 2 * line


def test_of_workers_that_end_together_one_runs_the_command(study: Study) -> None:
    runs = study.plan("sweep", "recipe.epochs=0", "seed=1,2")
    plan = Plan.read("sweep", study.output_dir)
    write_failure(study.run_dir(runs[0]), "no luck", "here")
    assert run_on_end(plan, COMMAND) is None
    write_failure(study.run_dir(runs[1]), "no luck", "here")
    together = threading.Barrier(8)

    def end(_: int) -> str | None:
        together.wait()
        return run_on_end(plan, COMMAND)

    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(end, range(8)))
    assert len([answer for answer in answers if answer]) == 1
    assert len((study.folder / "told.txt").read_text().splitlines()) == 1
