"""The typed schema of ``conf/train.yaml``: a dataclass for each config group, with the limits of its values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dst.config.identity import DEFAULTS, PARENT_WEIGHTS, method_of
from dst.config.limits import BOOLEAN, Boolean, key_of, limited, one_of


@dataclass
class DensityConfig:
    """Group ``density``: the overall density D in (0, 1]; None for a dense run, which has no masks."""

    value: float | None = field(
        default=MISSING,
        metadata=limited(lambda value: 0 < value <= 1, "must lie in (0, 1]; density=dense trains without masks"),
    )


@dataclass
class UpdatePeriodConfig:
    """Group ``update_period``: Δt in optimizer steps; None for a static run."""

    steps: int | None = field(
        default=MISSING,
        metadata=limited(lambda value: value >= 1, "must be 1 step or more; update_period=never keeps the masks"),
    )


@dataclass
class DistributionConfig:
    """Group ``distribution``: how the density is spread over the layers."""

    name: str = field(default=MISSING, metadata=key_of("dst.sparsity.distribution:DISTRIBUTIONS"))


@dataclass
class RecipeConfig:
    """Group ``recipe``: optimizer, learning-rate schedule, length and batch size of the training.

    Attributes:
        decay_biases: whether ``weight_decay`` is for all parameters; False: only for those with two or more
            dimensions, not for biases and norms.
        betas: of adam and adamw, likewise ``eps``.
        label_smoothing: ε in [0, 1) of the training loss; evaluations have none.
        sync_batch_norm: whether batch norm normalises by the whole batch where several GPUs train the run.
    """

    name: str = MISSING
    epochs: int = field(
        default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more; 0 evaluates only")
    )
    batch_size: int = field(default=MISSING, metadata=limited(lambda value: value >= 1, "must be 1 or more"))
    optimizer: str = field(default=MISSING, metadata=one_of("sgd", "adam", "adamw"))
    lr: float = field(default=MISSING, metadata=limited(lambda value: value > 0, "must be above 0"))
    momentum: float = field(default=MISSING, metadata=limited(lambda value: 0 <= value < 1, "must lie in [0, 1)"))
    nesterov: Boolean = field(default=MISSING, metadata=BOOLEAN)
    weight_decay: float = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    lr_milestones: list[float] = field(
        default=MISSING,
        metadata=limited(lambda value: all(0 <= share <= 1 for share in value), "must be shares in [0, 1]"),
    )
    lr_decay: float = field(default=MISSING, metadata=limited(lambda value: 0 < value <= 1, "must lie in (0, 1]"))
    decay_biases: Boolean = field(default=True, metadata=BOOLEAN)
    betas: list[float] = field(
        default_factory=lambda: [0.9, 0.999],
        metadata=limited(
            lambda value: len(value) == 2 and all(0 <= beta < 1 for beta in value), "must be two numbers in [0, 1)"
        ),
    )
    eps: float = field(default=1e-8, metadata=limited(lambda value: value > 0, "must be above 0"))
    label_smoothing: float = field(default=0.0, metadata=limited(lambda value: 0 <= value < 1, "must lie in [0, 1)"))
    sync_batch_norm: Boolean = field(default=False, metadata=BOOLEAN)


@dataclass
class InitialMaskConfig:
    """Group ``initial_mask``: how the masks are chosen before training.

    Attributes:
        name: ``random``: drawn, with the layer densities of ``distribution``; ``parent``: the masks that the run's
            parent ended with; else see :func:`dst.sparsity.initial_masks`.
        batches: of the training split, of ``recipe.batch_size`` samples each, that ``snip`` and ``grasp`` score by.
    """

    name: str = field(default="random", metadata=one_of("random", "magnitude", "snip", "grasp", "synflow", "parent"))
    batches: int = field(default=10, metadata=limited(lambda value: value >= 1, "must be 1 or more"))


@dataclass
class WeightInitConfig:
    """Group ``weight_init``: the weights at the first step.

    Attributes:
        name: ``default``: the model's own; ``sparsity_aware`` and ``layer_scaled``: see
            :func:`dst.sparsity.sparsity_aware_init` and :func:`dst.sparsity.layer_scaled_init`; ``parent``: those of
            the run's parent; ``parent_signs``, ``parent_magnitudes``: the model's own, where each sparsifiable weight
            has the sign, or the magnitude, of the parent's.
        step: of the parent's weights: the optimizer steps after which it had them; ``last``: at its end.
        scale, mode, distribution: of ``sparsity_aware``.
    """

    name: str = field(default="default", metadata=one_of("default", "sparsity_aware", "layer_scaled", *PARENT_WEIGHTS))
    step: Any = field(
        default="last",
        metadata=limited(
            lambda value: value == "last" or (type(value) is int and value >= 0), "must be last or a step, 0 or more"
        ),
    )
    scale: float = field(default=2.0, metadata=limited(lambda value: value > 0, "must be above 0"))
    mode: str = field(default="fan_in", metadata=one_of("fan_in", "fan_out", "fan_avg"))
    distribution: str = field(default="normal", metadata=one_of("normal", "uniform"))


@dataclass
class TrackerConfig:
    """Group ``tracker``: where a run reports to, and under which headings there (None: see ``conf/tracker``)."""

    name: str = field(default="local", metadata=one_of("wandb", "local"))
    tensorboard: Boolean = field(default=False, metadata=BOOLEAN)
    project: str = "fantastic-weights"
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    mode: str | None = field(default=None, metadata=one_of("online", "offline", "disabled"))
    timeout_s: float = field(
        default=30.0, metadata=limited(lambda value: 0 < value <= 1e6, "must be above 0 and at most 1e6 seconds")
    )


@dataclass
class DatasetConfig:
    """Which data, how they are split and what is done to them on the way to the model.

    Attributes:
        name: what runs call the dataset, and its folder under ``data_dir``.
        source: what reads it, a key of ``dst.data.sources.SOURCES``.
        shape: of one sample; None: found in the data.
        num_classes: None: found in the data.
        val_size: samples taken from train for validation: a share of train if below 1, else their number; with 0 the
            test set validates too.
        augment: of training images, one of ``dst.data.augment.AUGMENTATIONS``.
        mean: per channel (or feature), for pixels scaled to [0, 1]; None: computed from the training samples.
        std: as ``mean``.
        label_noise: share of the training samples, without those for validation, whose label is replaced by another
            class, drawn uniformly by ``split_seed``, so that all runs see the same wrong labels.
        split_seed: decides which samples of train are for validation; the test set never depends on it.
        root: where the user's own copy of the raw data lies; None: somewhere under ``data_dir``.
        image_size: images are cropped to a square and resized to it, in pixels; None: they stay as they are.
        like: a known dataset, a choice of the config group, whose ``augment``, ``mean`` and ``std`` are taken.
        workers: processes that decode a streamed dataset; what lies on the device needs none.
        tokenizer: of texts: its name on Hugging Face's hub, or a folder.
        store: of a streamed dataset; ``original``: image files are decoded as they are, ``resized``: each is resized
            once, to a shorter side of 256 pixels.
    """

    name: str = field(
        default=MISSING,
        metadata=limited(
            re.compile(r"\w[\w.+-]{0,199}").fullmatch,
            "must be a folder's name of up to 200 letters, digits and any of _ . + -",
        ),
    )
    source: str = field(default=MISSING, metadata=key_of("dst.data.sources:SOURCES"))
    shape: list[int] | None = field(
        default=MISSING,
        metadata=limited(
            lambda value: len(value) <= 3 and min(value, default=0) >= 1,
            "must be one number, or channels, height and width, or choices and length",
        ),
    )
    num_classes: int | None = field(default=MISSING, metadata=limited(lambda value: value >= 1, "must be 1 or more"))
    val_size: float = field(
        default=MISSING,
        metadata=limited(
            lambda value: 0 <= value < 1 or (value >= 2 and value % 1 == 0),
            "must be a share of train below 1, or a number of samples, 2 or more",
        ),
    )
    augment: str = field(default="none", metadata=key_of("dst.data.augment:AUGMENTATIONS"))
    mean: list[float] | None = None
    std: list[float] | None = field(
        default=None,
        metadata=limited(
            lambda value: all(deviation >= 1e-30 for deviation in value), "must be above 0 in every channel"
        ),
    )
    split_seed: int = field(
        default=0, metadata=limited(lambda value: 0 <= value < 2**32, "must be 0 or more and below 2^32")
    )
    label_noise: float = field(default=0.0, metadata=limited(lambda value: 0 <= value < 1, "must lie in [0, 1)"))
    root: str | None = None
    image_size: int | None = field(
        default=None, metadata=limited(lambda value: 1 <= value <= 2**15, "must be 1 to 32768 pixels, or null")
    )
    like: str | None = None
    workers: int = field(default=0, metadata=limited(lambda value: 0 <= value <= 1024, "must be 0 to 1024"))
    tokenizer: str | None = None
    store: str = field(default="original", metadata=one_of("original", "resized"))


_PATTERNS = limited(bool, "must be null or one glob pattern of parameter names or more, such as [classifier.*]")


@dataclass
class SparsityConfig:
    """What is sparse, how topology updates compete and what becomes of the optimizer state of inactive weights.

    Attributes:
        include: glob patterns of the parameters that become sparse, see :func:`dst.sparsity.sparsifiable_weights`.
        exclude: glob patterns of those that stay dense.
        normalise: what the criterion's scores are divided by, see :class:`dst.sparsity.DynamicSparsity`.
        update_order: whether topology updates come ``before`` or ``after`` the optimizer step, likewise.
        update_batch_size: training samples whose gradient updates prune and grow by; None: the step's batch.
    """

    include: list[str] | None = field(default=None, metadata=_PATTERNS)
    exclude: list[str] | None = field(default=None, metadata=_PATTERNS)
    scope: str = field(default=MISSING, metadata=one_of("local", "global"))
    normalise: str = field(default="none", metadata=one_of("none", "layer", "input", "output"))
    update_order: str = field(default="before", metadata=one_of("before", "after"))
    momentum: str = field(default=MISSING, metadata=one_of("masked", "dense"))
    update_batch_size: int | None = field(
        default=None, metadata=limited(lambda value: value >= 1, "must be 1 sample or more, or null for the batch's")
    )


@dataclass
class CheckpointConfig:
    """When checkpoints are written and what stays of a finished run's.

    Attributes:
        minutes: the shortest time between two checkpoints.
        keep: of a finished run's last checkpoint.
        snapshots: optimizer steps after which the weights and masks are kept for good; 0: before the first.
        phases: whether those of each phase's end are kept for good too.
    """

    minutes: float = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    keep: str = field(default=MISSING, metadata=one_of("all", "weights", "nothing"))
    snapshots: list[int] = field(
        default_factory=list,
        metadata=limited(lambda value: all(step >= 0 for step in value), "must be steps, 0 or more"),
    )
    phases: bool = False


@dataclass
class Config:
    """One training, as ``conf/train.yaml`` composes it; ``dict`` groups are checked against what they build.

    Attributes:
        parent: overrides which, applied to this config, give the run that this one starts from; see
            :func:`dst.config.parent_of`.
        parent_id: run id of the parent, found by the checks; None where nothing is taken from one.
    """

    model: dict[str, Any] = MISSING
    dataset: DatasetConfig = MISSING
    task: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS["task"]))
    criterion: dict[str, Any] = MISSING
    growth: dict[str, Any] = MISSING
    density: DensityConfig = MISSING
    update_period: UpdatePeriodConfig = MISSING
    prune_fraction: dict[str, Any] = MISSING
    distribution: DistributionConfig = MISSING
    recipe: RecipeConfig = MISSING
    procedure: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS["procedure"]))
    initial_mask: InitialMaskConfig = field(default_factory=InitialMaskConfig)
    weight_init: WeightInitConfig = field(default_factory=WeightInitConfig)
    lr_schedule: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS["lr_schedule"]))
    parent: list[str] | None = None
    parent_id: str | None = None
    probes: dict[str, Any] = field(default_factory=dict)
    tracker: TrackerConfig = MISSING
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: int = field(default=MISSING, metadata=limited(lambda value: value >= 0, "must be 0 or more"))
    device: str = field(
        default=MISSING,
        metadata=limited(
            re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?").fullmatch, "choose auto, cpu, mps, cuda or cuda:N"
        ),
    )
    precision: str = field(default=MISSING, metadata=one_of("fp32", "tf32", "bf16", "fp16"))
    deterministic: Boolean = field(default=MISSING, metadata=BOOLEAN)
    cuda_graph: Boolean = field(default=MISSING, metadata=BOOLEAN)
    data_dir: str = MISSING
    output_dir: str = MISSING
    rerun: Boolean = field(default=False, metadata=BOOLEAN)

    @property
    def chosen_weights(self) -> dict[str, Any]:
        """The arguments ``include`` and ``exclude`` of :mod:`dst.sparsity`; none for a dense run: it has no masks."""
        if self.density.value is None:
            return {}
        return {"include": self.sparsity.include, "exclude": self.sparsity.exclude}

    @property
    def method(self) -> str:
        """How the masks come about, see :func:`dst.config.identity.method_of`."""
        groups = {"density": vars(self.density), "update_period": vars(self.update_period)}
        return method_of({**groups, "procedure": self.procedure})


ConfigStore.instance().store(name="schema", node=Config)
