"""Trainings of the paper's setups on synthetic data of the same shapes; needs no download."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from dst.attempt import Attempt
from dst.config import Config, checked, compose
from dst.data.augment import AUGMENTATIONS, AugmentedSamples
from dst.data.batches import EvaluationBatches, TrainBatches
from dst.data.load import Data
from dst.data.normalise import Normalise
from dst.models import build_model
from dst.run.directory import RunDirectory
from dst.tasks import Classification
from dst.training.build import build_training
from dst.training.device import place
from dst.training.loop import Training
from dst.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Setup:
    """A model and the shapes of a dataset; ``train_samples`` is the size of the real training set."""

    model: str
    dataset: str
    train_samples: int
    shape: tuple[int, ...]
    classes: int

    @property
    def name(self) -> str:
        return f"{self.model}/{self.dataset}"

    def config(self, *overrides: str) -> Config:
        """Returns the setup's config, with the model's recipe and the dataset's augmentation."""
        return checked(compose([f"model={self.model}", f"dataset={self.dataset}", "tracker=local", *overrides]))

    def steps_per_epoch(self) -> int:
        return -(-self.train_samples // self.config().recipe.batch_size)


SETUPS = [
    Setup("small_mlp", "higgs", 658_112, (24,), 2),
    Setup("large_mlp", "cifar10", 45_000, (3, 32, 32), 10),
    Setup("small_cnn", "cifar10", 45_000, (3, 32, 32), 10),
    Setup("lenet5_caffe", "fashion_mnist", 54_000, (1, 28, 28), 10),
    Setup("resnet56", "cifar10", 45_000, (3, 32, 32), 10),
    Setup("resnet56", "cifar100", 45_000, (3, 32, 32), 100),
    Setup("vgg16", "cifar100", 45_000, (3, 32, 32), 100),
    Setup("efficientnet_b0", "tiny_imagenet", 90_000, (3, 64, 64), 200),
    Setup("resnet50", "imagenet", 1_281_167, (3, 224, 224), 1000),
]
QUICK = ("small_mlp/higgs", "large_mlp/cifar10", "small_cnn/cifar10", "lenet5_caffe/fashion_mnist", "resnet56/cifar10")
"""Setups that a CPU measures in minutes."""

METHODS = {
    "dense": ["density=dense"],
    "static": ["density=d0.1", "update_period=never"],
    "dst Δt=800": ["density=d0.1", "update_period=dt800", "growth=gradient"],
    "dst Δt=100": ["density=d0.1", "update_period=dt100", "growth=gradient"],
}


def methods(device: torch.device) -> dict[str, list[str]]:
    """Returns the overrides of each measured method; on a GPU, also static steps without a CUDA graph."""
    unrecorded = {"no graph": [*METHODS["static"], "cuda_graph=false"]} if device.type == "cuda" else {}
    return METHODS | unrecorded


def synthetic(setup: Setup, config: Config, device: torch.device, steps: int) -> Data:
    """Returns ``steps`` batches of noise, stored, augmented and normalised like the dataset."""
    generator = torch.Generator().manual_seed(0)
    n, batch = steps * config.recipe.batch_size, config.recipe.batch_size
    images = len(setup.shape) == 3
    x = torch.randint(256, (n, *setup.shape), generator=generator, dtype=torch.uint8) if images else torch.randn(
        n, *setup.shape, generator=generator
    )  # fmt: skip
    y = torch.randint(setup.classes, (n,), generator=generator)
    augment = config.dataset.augment if config.dataset.augment in AUGMENTATIONS else "none"
    normalise = Normalise([0.5], [0.25], images=images, device=device) if images else None
    samples = AugmentedSamples(x.to(device), AUGMENTATIONS[augment])
    train = TrainBatches(samples, y.to(device), normalise, batch, seed=1)
    held = EvaluationBatches(x[:batch].to(device), y[:batch].to(device), normalise, batch)
    return Data(setup.shape, setup.classes, "synthetic", train, held, held)


def make_training(setup: Setup, config: Config, device: torch.device, steps: int) -> Training:
    """Returns a training of the setup on ``steps`` batches of noise, ready for its first step."""
    return build_training(config, _model(setup, config, device), synthetic(setup, config, device, steps), device)


def floor(setup: Setup, device: torch.device, steps: int) -> Callable[[], None]:
    """Returns ``steps`` of forward, backward and optimizer on batches that lie ready: what nobody can go below."""
    config = setup.config("density=dense")
    data = synthetic(setup, config, device, min(steps, 8))
    model = _model(setup, config, device)
    optimizer = make_optimizer(model, config.recipe, device)
    batches = list(data.train.epoch(0))

    def advance() -> None:
        for step in range(steps):
            x, y = batches[step % len(batches)]
            optimizer.zero_grad()
            Classification().loss(model(x), y).backward()
            optimizer.step()

    return advance


def make_loop(setup: Setup, method: str, device: torch.device, steps: int) -> tuple[Callable[[], None], Training]:
    """Returns a callable that runs ``steps`` steps of a real run with all work after each step; and the training."""
    config = setup.config(*methods(device)[method], f"output_dir={tempfile.mkdtemp()}", "recipe.epochs=1000")
    training = make_training(setup, config, device, steps)
    run = Attempt(config, RunDirectory(config), training, True, lambda begins: training, should_stop=lambda: False)
    bar = tqdm(file=open(Path("/dev/null"), "w"), disable=False)  # noqa: SIM115 - closed with the bar

    def advance() -> None:
        training.train_epoch(lambda: run._after_step(bar))

    return advance, training


def _model(setup: Setup, config: Config, device: torch.device) -> torch.nn.Module:
    model = build_model(config.model, input_shape=setup.shape, num_classes=setup.classes, seed=1, dataset=setup.dataset)
    return place(model, device, config.precision).train()
