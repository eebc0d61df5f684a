"""A tiny RoBERTa on questions with five answers: read, trained sparsely, stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dst.config import checked, compose
from dst.errors import UserError
from dst.sparsity import DynamicSparsity, sparsifiable_weights
from dst.train import run
from dst.training.beginning import NOTHING
from dst.training.build import training_factory
from tests.run.outcomes import outcomes, run_with_stops

transformers = pytest.importorskip("transformers")

WORDS = "where would a fox like to sleep if it were not hungry house den forest market the river and never".split()
CRITERIA = ("magnitude", "set", "mest", "snip", "sensitivity", "rsensitivity", "random", "grasp")


def question(number: int) -> dict[str, Any]:
    """A question as the official files have them; the right answer is the one that repeats its last word."""
    words = [WORDS[(number * step) % len(WORDS)] for step in range(1, 4 + number % 3)]
    choices = [WORDS[(number + 3 * choice) % len(WORDS)] for choice in range(5)]
    right = number % 5
    choices[right] = words[-1]
    named = [{"label": letter, "text": text} for letter, text in zip("ABCDE", choices, strict=True)]
    return {"answerKey": "ABCDE"[right], "id": str(number), "question": {"stem": " ".join(words), "choices": named}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions, and a RoBERTa of two layers with a tokenizer of these words, in the formats of the originals."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("text")
    for file, numbers in (("train", range(40)), ("dev", range(40, 52))):
        lines = [json.dumps(question(number)) for number in numbers]
        (folder / f"{file}_rand_split.jsonl").write_text("\n".join(lines) + "\n")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS, "Q", "A", ":"]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tiny")
    config = transformers.RobertaConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.RobertaModel(config).save_pretrained(folder / "tiny")
    return folder


@pytest.fixture
def typed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Returns the overrides of a training on these questions, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets on import
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    data_dir = folder / "data"

    def make(*more: str) -> list[str]:
        return [
            *("model=roberta_large", f"model.checkpoint={folder / 'tiny'}", "dataset=commonsense_qa", "tracker=local"),
            *(f"dataset.root={folder}", f"dataset.tokenizer={folder / 'tiny'}", f"data_dir={data_dir}", "device=cpu"),
            *("recipe.epochs=2", "recipe.batch_size=8", "recipe.lr=0.003", "density=0.5", "update_period=2"),
            *(f"output_dir={tmp_path / 'outputs'}", *more),
        ]

    return make


def test_questions_become_pairs_of_sentences_padded_to_the_longest(
    typed: Callable[..., list[str]], folder: Path
) -> None:
    training = training_factory(checked(compose(typed())))(NOTHING)
    tokens = np.load(folder / "data" / "commonsense_qa" / "train_x.npy")
    labels = np.load(folder / "data" / "commonsense_qa" / "train_y.npy")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tiny")
    assert (tokens.shape[:2], tokens.dtype, training.data.shape) == ((40, 5), np.int32, tokens.shape[1:])
    first = question(0)
    for choice, row in zip(first["question"]["choices"], tokens[0], strict=True):
        expected = tokenizer(f"Q: {first['question']['stem']}", f"A: {choice['text']}")["input_ids"]
        assert row[: len(expected)].tolist() == expected
        assert set(row[len(expected) :].tolist()) <= {1}
    assert labels[:7].tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_padding_changes_no_score(typed: Callable[..., list[str]]) -> None:
    training = training_factory(checked(compose(typed("density=dense"))))(NOTHING)
    model = training.model.eval()
    x = next(iter(training.data.test))[0]
    longer = torch.cat([x, torch.ones(*x.shape[:2], 5, dtype=x.dtype)], dim=2)
    torch.testing.assert_close(model(x), model(longer))


def test_fine_tuning_starts_from_the_checkpoint_at_the_exact_density(
    typed: Callable[..., list[str]], folder: Path
) -> None:
    training = training_factory(checked(compose(typed("initial_mask=magnitude"))))(NOTHING)
    saved = transformers.AutoModel.from_pretrained(folder / "tiny").state_dict()
    weights = dict(training.model.named_parameters())
    name = "encoder.layer.1.output.dense.weight"
    mask = training.sparsity.masks[f"network.roberta.{name}"]
    assert torch.equal(weights[f"network.roberta.{name}"], saved[name] * mask)
    assert torch.equal(
        weights["network.roberta.embeddings.word_embeddings.weight"], saved["embeddings.word_embeddings.weight"]
    )
    assert not any("embeddings" in name for name in training.sparsity.masks)
    total = sum(mask.numel() for mask in training.sparsity.masks.values())
    active = sum(int(mask.sum()) for mask in training.sparsity.masks.values())
    assert active == total - total // 2


def test_a_stopped_run_ends_as_one_never_stopped(typed: Callable[..., list[str]], tmp_path: Path) -> None:
    more = ("growth=gradient", "criterion=snip", "initial_mask=magnitude")
    summary = run(compose(typed(*more, f"output_dir={tmp_path / 'whole'}")))
    cfg = compose(typed(*more, f"output_dir={tmp_path / 'stopped'}"))
    run_with_stops(cfg, 3, 4)
    assert (summary["topology_updates"], summary["model"], summary["dataset"]) == (4, "roberta_large", "commonsense_qa")
    assert outcomes(tmp_path / "stopped") == outcomes(tmp_path / "whole")


def test_it_learns(typed: Callable[..., list[str]]) -> None:
    summary = run(compose(typed("recipe.epochs=40", "recipe.lr=0.01", "density=0.8", "lr_schedule=constant")))
    assert summary["train_loss"] < 1.4  # chance: log 5 = 1.61


@pytest.mark.parametrize("growth", ["random", "gradient", "momentum"])
def test_every_criterion_updates_a_transformer_with_exact_counts(growth: str, typed: Callable[..., list[str]]) -> None:
    momentum = ["sparsity.momentum=dense"] if growth == "momentum" else []
    for criterion in CRITERIA:
        chosen = [f"criterion={criterion}", f"growth={growth}", *momentum]
        training = training_factory(checked(compose(typed(*chosen, "recipe.epochs=1"))))(NOTHING)
        sparsity = training.sparsity
        assert isinstance(sparsity, DynamicSparsity)
        before = {layer.name: layer.n_active for layer in sparsity.layers}
        training.train_epoch()
        assert {layer.name: int(layer.mask.sum()) for layer in sparsity.layers} == before
        assert len(sparsity.pop_updates()) == 2
        weights = sparsifiable_weights(training.model)
        assert all(not weights[name][~mask].any() for name, mask in sparsity.masks.items())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["dataset.tokenizer=nobody/has-this"], ["dataset.tokenizer=nobody/has-this: is neither a", "HF_HOME"]),
        (["model.checkpoint=nobody/has-this"], ["model.checkpoint=nobody/has-this: is neither a folder", "HF_HOME"]),
        (["dataset.root=null"], ["dataset=commonsense_qa", "HF_HOME"]),
        (["dataset=digits", "task=classification"], ["model=roberta_large: cannot be built", "token ids"]),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_one_line(
    given: list[str], told: list[str], typed: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    typed_in = [item for item in typed() if not (given[0] == "dataset=digits" and item.startswith("dataset."))]
    with pytest.raises(UserError) as error:
        training_factory(checked(compose([*typed_in, f"data_dir={tmp_path}", *given])))(NOTHING)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in told), str(error.value)


def test_texts_longer_than_the_model_takes_are_told(
    folder: Path, typed: Callable[..., list[str]], tmp_path: Path
) -> None:
    long = question(0)
    long["question"]["stem"] = "fox " * 60
    for split in ("train", "dev"):
        (tmp_path / f"{split}_rand_split.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in [long, *map(question, range(5))])
        )
    given = (f"dataset.root={tmp_path}", f"data_dir={tmp_path / 'data'}")
    with pytest.raises(UserError, match=r"texts have up to \d+ tokens, it takes 38; choose a model"):
        training_factory(checked(compose(typed(*given))))(NOTHING)


def test_a_damaged_question_is_named(typed: Callable[..., list[str]], tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}_rand_split.jsonl").write_text(json.dumps(question(0)) + '\n{"answerKey": "A"}\n')
    with pytest.raises(UserError, match="question 2 of train: needs question, 5 choices and answerKey"):
        training_factory(checked(compose(typed(f"dataset.root={tmp_path}", f"data_dir={tmp_path / 'data'}"))))(NOTHING)
