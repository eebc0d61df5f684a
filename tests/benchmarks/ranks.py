"""Time of a training step by two processes, against one process with as many samples as each of the two has.

python -m tests.benchmarks.ranks [setups=large_mlp/cifar10,small_cnn/cifar10] [rounds=5] [steps=10]

On the CPU, one thread a process: the ratio is what DistributedDataParallel and gloo add to a step.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from multiprocessing.connection import Connection

import torch

from dst import ranks
from dst.training.device import keep_freed_memory, set_numerics
from tests.benchmarks.setups import METHODS, SETUPS, Setup, make_training
from tests.benchmarks.steps import seconds

CPU = torch.device("cpu")
DEFAULTS = {"setups": "large_mlp/cifar10,small_cnn/cifar10", "rounds": "5", "steps": "10"}


def main(*arguments: str) -> None:
    given = dict(DEFAULTS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            sys.exit(f"error: {argument}: choose from {', '.join(f'{name}=…' for name in given)}")
        given[key] = value
    rounds, steps = int(given["rounds"]), int(given["steps"])
    print(f"ms a step, density 0.1, one thread a process, medians of {rounds} rounds of {steps} steps\n")
    print(f"{'':24}{'batch':>7}{'one alone':>12}{'two':>9}{'ratio':>8}")
    for setup in (setup for setup in SETUPS if setup.name in given["setups"].split(",")):
        batch = setup.config().recipe.batch_size
        alone, two = measure(setup, batch // 2 * 2, rounds, steps)
        print(f"{setup.name:24}{batch:>7}{alone:>12.2f}{two:>9.2f}{two / alone:>8.2f}", flush=True)


def measure(setup: Setup, batch_size: int, rounds: int, steps: int) -> tuple[float, float]:
    """Returns the median ms of a step: of one process with half the batch, and of two with half of it each.

    Args:
        setup: to be trained.
        batch_size: of the two together.
        rounds: of each.
        steps: of a round.
    """
    alone, two = (_measure(setup, batch_size * size // 2, size, rounds, steps) for size in (1, 2))
    return alone, two


def _measure(setup: Setup, batch_size: int, size: int, rounds: int, steps: int) -> float:
    _store, port = ranks.host(size)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    targets = [(setup, batch_size, rank, size, port, rounds, steps, theirs) for rank in range(size)]
    processes = [context.Process(target=_train, args=target) for target in targets]
    for process in processes:
        process.start()
    theirs.close()
    measured: list[float] = ours.recv()
    for process in processes:
        process.join()
    return statistics.median(measured)


def _train(
    setup: Setup, batch_size: int, rank: int, size: int, port: int, rounds: int, steps: int, told: Connection
) -> None:
    """Sends the ms of a step in each epoch after a first one, from the first rank."""
    torch.set_num_threads(1)
    set_numerics("fp32", deterministic=True)
    keep_freed_memory()
    if size > 1:
        ranks.join_host(port, rank, size)
    config = setup.config(*METHODS["static"], f"recipe.batch_size={batch_size}", "recipe.epochs=1000")
    training = make_training(setup, config, CPU, steps)
    training.train_epoch()
    measured = [1e3 * seconds(lambda: training.train_epoch() and None, CPU) / steps for _ in range(rounds)]
    if rank == 0:
        told.send(measured)
    ranks.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
