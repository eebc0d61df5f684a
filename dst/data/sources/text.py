"""Questions with several answers, as token ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.raw_data import raw_root
from dst.data.store import Arrays
from dst.errors import UserError
from dst.hub import from_hub, missing_library, missing_told

if TYPE_CHECKING:
    from dst.config import DatasetConfig

_HUB_NAME = "tau/commonsense_qa"
_FILES = {"train": "train_rand_split.jsonl", "validation": "dev_rand_split.jsonl"}
_LETTERS = "ABCDE"

Encoded = tuple[list[list[list[int]]], list[int]]
"""The token ids of each choice of each question, and the number of the right choice."""


def commonsense_qa(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """CommonsenseQA (Talmor et al., 2019): 9,741 questions with five answers each; int32 token ids ``(N, 5, length)``.

    A choice is ``Q: question`` and ``A: answer`` as a pair of sentences, as in SMC-Bench (Liu et al., 2023). Tests are
    the 1,221 questions of the official development set, since the labels of the test set are not public.

    Args:
        cfg: ``tokenizer``, and ``root``: a folder with the official files ``train_rand_split.jsonl`` and
            ``dev_rand_split.jsonl``; None: as the library ``datasets`` finds it.
        data_dir: not used.

    Raises:
        UserError: for damaged files, and libraries that are not installed.
        PlaceError: for a tokenizer or data that are neither there nor to be downloaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing_library("text", error) from error
    name = str(cfg.tokenizer)
    tokenizer: Any = from_hub("dataset.tokenizer", name, lambda **local: AutoTokenizer.from_pretrained(name, **local))
    if tokenizer.pad_token_id is None:
        raise UserError(f"dataset.tokenizer={name}: has no token for padding; choose another one")
    found = {split: _encoded(rows, tokenizer, split) for split, rows in _splits(cfg, data_dir).items()}
    lengths = [len(choice) for questions, _ in found.values() for question in questions for choice in question]
    arrays = {
        split: _padded(questions, max(lengths), tokenizer.pad_token_id) for split, (questions, _) in found.items()
    }
    labels = {split: np.array(answers, dtype=np.int64) for split, (_, answers) in found.items()}
    root = _HUB_NAME if cfg.root is None else str(raw_root(cfg, data_dir))
    return Arrays(arrays["train"], labels["train"], arrays["validation"], labels["validation"]), root


def _splits(cfg: DatasetConfig, data_dir: Path) -> dict[str, Iterable[Mapping[str, Any]]]:
    if cfg.root is not None:
        folder = raw_root(cfg, data_dir)
        return {split: _read(folder / file) for split, file in _FILES.items()}
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise missing_library("text", error) from error
    with missing_told(f"dataset={cfg.name}, {_HUB_NAME}"):  # the library itself goes on with its cache without a hub
        loaded = load_dataset(_HUB_NAME)
    return {split: loaded[split] for split in _FILES}


def _read(file: Path) -> list[Mapping[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(
            f"dataset.root: {file} cannot be read ({error}); it holds one question a line, as JSON"
        ) from error


def _encoded(rows: Iterable[Mapping[str, Any]], tokenizer: Any, split: str) -> Encoded:
    questions, answers = [], []
    for number, row in enumerate(rows, start=1):
        try:
            nested = row["question"] if isinstance(row["question"], Mapping) else None
            stem = nested["stem"] if nested else row["question"]  # the official file nests them, the hub's does not
            choices = [choice["text"] for choice in nested["choices"]] if nested else list(row["choices"]["text"])
            answers.append(_LETTERS.index(row["answerKey"]))
            if len(choices) != len(_LETTERS):
                raise ValueError(f"{len(choices)} choices")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"question {number} of {split}: needs question, {len(_LETTERS)} choices and answerKey ({error!r})"
            ) from error
        questions.append([tokenizer(f"Q: {stem}", f"A: {choice}")["input_ids"] for choice in choices])
    if not questions:
        raise UserError(f"the questions of {split}: there are none")
    return questions, answers


def _padded(questions: list[list[list[int]]], length: int, padding: int) -> NDArray[np.int32]:
    padded = np.full((len(questions), len(_LETTERS), length), padding, dtype=np.int32)
    for question, choices in zip(padded, questions, strict=True):
        for row, tokens in zip(question, choices, strict=True):
            row[: len(tokens)] = tokens
    return padded
