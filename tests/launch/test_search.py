"""``launch search``: trials are runs, trained once, whatever ends the processes that train them."""

from __future__ import annotations

import os
import re
import signal

import pytest
from omegaconf import DictConfig, OmegaConf

from dst.errors import UserError
from dst.run.outcome import write_failure
from dst.train import run as train_run
from launch.cluster import ClusterConfig
from launch.plan import Plan
from launch.search.description import Search
from launch.search.files import changed_by, named
from launch.search.report import status_text
from launch.search.start import begin, check, train_here
from launch.search.studies import Studies
from tests.launch.study import SHORT, Study
from tests.slurm.cluster import wait_until

LR = "recipe.lr=tag(log,interval(1e-2,1))"


def search(study: Study, settings: list[str], *overrides: str) -> Search:
    data = f"data_dir={study.data_dir}"
    return changed_by(Search(), settings, [*SHORT, data, "density=d0.2", "growth=gradient", *overrides])


def begun(study: Study, settings: list[str], *overrides: str) -> Studies:
    """Begins the search ``best`` without a subprocess."""
    study.output_dir.mkdir(exist_ok=True)
    described = search(study, settings, *overrides)
    described.cwd = str(study.folder)
    check("best", study.output_dir, described)
    return begin("best", study.output_dir, described)


def train(studies: Studies, processes: int = 1) -> str:
    """Trains all trials; returns what ``status`` shows then."""
    plan = check("best", studies.output_dir, studies.search)
    train_here(studies, plan, ClusterConfig("local", "local", gpus=None, runs_per_gpu=processes))
    return status_text(studies)


def config_of(study: Study, name: str, run_id: str) -> DictConfig:
    return OmegaConf.create(Plan.read(name, study.output_dir).by_id[run_id].config)


def ids(studies: Studies, combination: str = "all") -> list[str]:
    return [run_id for trial in studies.trials(combination) for run_id in trial.user_attrs.get("runs", ())]


@pytest.mark.parametrize(
    ("settings", "overrides", "told"),
    [
        (["metric=test_acc"], [LR], "search.metric=test_acc: the test set is no validation set"),
        (["sampler=tpx"], [LR], "search.sampler=tpx: unknown; did you mean tpe?"),
        (["sampler=grid"], [LR], "a grid needs values"),
        (["pruner.name=median", "pruner.startup=3"], [LR], "search.pruner: median: "),
        ([], ["recipe.lr=tag(log,interval(0,1))"], "recipe.lr=tag(log,interval(0,1)): `low > 0` must hold"),
        ([], ["recipe.lr=0.1"], "search.space: is empty"),
        ([], [LR, "seed=1,2"], "search.seeds=3"),
        (["each.criterion=[snip]"], [LR, "+criterion=snip"], "criterion"),
        ([], ["recipe.lrr=interval(0,1)"], "lrr"),
        (["each.criterion=[snipp]"], [LR], "did you mean snip?"),
    ],
)
def test_a_mistake_is_one_line_and_begins_nothing(
    settings: list[str], overrides: list[str], told: str, study: Study
) -> None:
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        begun(study, settings, *overrides)
    assert "\n" not in str(caught.value)
    assert not list(study.output_dir.rglob("*"))


def test_the_search_of_the_documentation_is_valid_and_a_value_on_the_command_line_fixes_a_searched_key(
    study: Study,
) -> None:
    described = changed_by(named("lr_by_criterion", "x", study.output_dir), ["sampler=random"], ["criterion=snip"])
    described.check()
    assert list(described.combinations()) == ["all"]
    assert "criterion=snip" in described.point((), {"recipe.lr": 0.123456})
    assert "recipe.lr=0.1235" in described.point((), {"recipe.lr": 0.123456})


def test_a_begun_search_can_grow_and_refuses_to_become_another(study: Study) -> None:
    begun(study, ["trials=2", "each.criterion=[snip]"], LR)
    assert begun(study, ["trials=3", "each.criterion=[snip,magnitude]"], LR).left() == 6
    with pytest.raises(UserError, match="has begun with other space; give name="):
        begun(study, ["trials=3"], "recipe.lr=interval(0.1,1)")


def test_draws_depend_on_the_study_and_the_trial_not_on_the_process_that_asks(study: Study) -> None:
    def draw(studies: Studies) -> float:
        with studies.claim() as claim:  # type: ignore[union-attr]
            claim.tell([0.5])
        return studies.trials("all")[-1].params["recipe.lr"]  # type: ignore[no-any-return]

    one = begun(study, ["sampler=random", "trials=3"], LR)
    alone = [draw(one) for _ in range(3)]
    assert len(set(alone)) == 3
    assert one.claim() is None
    (study.output_dir / "sweeps" / "best" / "trials.journal").unlink()
    begun(study, ["sampler=random", "trials=3"], LR)
    assert [draw(Studies("best", study.output_dir)) for _ in range(3)] == alone


def test_a_trial_whose_process_ended_is_taken_up_at_its_point_and_one_in_training_is_not(study: Study) -> None:
    studies = begun(study, ["trials=2"], LR)
    with studies.claim() as held:  # type: ignore[union-attr]
        with Studies("best", study.output_dir).claim() as left:  # type: ignore[union-attr]
            assert left.overrides != held.overrides
        assert studies.claim().overrides == left.overrides  # type: ignore[union-attr]
    assert len(studies.trials("all")) == 2


@pytest.mark.slow
def test_processes_killed_in_the_middle_lose_no_trial_and_train_no_run_twice(study: Study) -> None:
    studies = begun(study, ["trials=3", "sampler=random"], LR, "recipe.epochs=80", "checkpoint.minutes=0.005")
    first = study.start("search", "name=best", "cluster=local", "cluster.runs_per_gpu=1")
    wait_until(lambda: any(study.output_dir.glob("runs/*/checkpoint.pt")), "a checkpoint")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    started = ids(studies)
    answer = train(studies, processes=2)
    assert "3 of 3 trials ended" in answer
    assert set(started) < set(ids(studies))
    assert [study.times_finished(run_id) for run_id in ids(studies)] == [1] * 3
    assert "resuming run" in study.log(started[-1])
    assert train(studies) == answer


def test_a_grid_takes_over_what_a_sweep_has_trained_as_the_mean_over_seeds_and_what_failed_there_has_failed(
    study: Study,
) -> None:
    fixed = ("density=d0.2", "growth=gradient", "recipe.epochs=2")
    runs = study.plan("sweep", *fixed, "recipe.lr=0.1,0.5,0.9", "seed=1,2")
    trained = [train_run(config_of(study, "sweep", run_id))["best_val_acc"] for run_id in runs[:4]]
    write_failure(study.run_dir(runs[4]), "out of memory", "node1")
    studies = begun(study, ["sampler=grid", "seeds=2"], "recipe.epochs=2", "recipe.lr=0.1,0.5,0.9")
    answer = train(studies)
    assert "3 of 3 trials ended" in answer
    assert f"run {runs[4]}: out of memory" in answer
    assert sorted(ids(studies)) == sorted(runs)
    assert not any(study.log(run_id) for run_id in runs)
    means = [(trained[0] + trained[1]) / 2, (trained[2] + trained[3]) / 2, None]
    assert [trial.value for trial in studies.trials("all")] == pytest.approx(means)


def test_a_damaged_journal_is_one_line_that_says_how_to_go_on(study: Study) -> None:
    begun(study, [], LR)
    with (study.output_dir / "sweeps" / "best" / "trials.journal").open("a") as journal:
        journal.write('{"op_code"\n{}\n')
    with pytest.raises(UserError, match=r"trials.journal: is damaged \(.*\); remove it and search again"):
        Studies("best", study.output_dir)


def test_a_pruned_trial_stops_with_its_checkpoint_and_a_sweep_can_train_it_to_its_end(study: Study) -> None:
    pruner = ["pruner.name=threshold", "pruner.lower=0.999", "pruner.n_warmup_steps=3"]
    studies = begun(study, ["trials=1", *pruner], LR, "recipe.epochs=10")
    assert " pruned " in train(studies)
    (run_id,), (trial,) = ids(studies), studies.trials("all")
    epochs = len((study.run_dir(run_id) / "metrics.jsonl").read_text().splitlines())
    assert 3 <= epochs < 10
    assert list(trial.intermediate_values) == list(range(1, epochs + 1))
    assert not study.is_finished(run_id)
    lr = next(override for override in studies.search.point((), trial.params) if override.startswith("recipe.lr="))
    assert study.plan("rest", "density=d0.2", "growth=gradient", "recipe.epochs=10", lr) == [run_id]
    now: list[int] = []
    train_run(config_of(study, "rest", run_id), on_epoch=lambda metrics: now.append(metrics["epoch"]))
    assert now == list(range(epochs + 1, 11))
