"""Text classifiers of Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dst.hub import from_hub, missing_library


class TextClassifier(nn.Module):
    """Maps token ids ``(batch, length)`` to logits ``(batch, outputs)``; padding is not attended to.

    Args:
        network: a transformers model for sequence classification.
        padding: id of the token that fills up short texts.
    """

    def __init__(self, network: nn.Module, padding: int) -> None:
        super().__init__()
        self.network, self._padding = network, padding

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps token ids of any dtype to logits."""
        tokens = tokens.long()
        logits: Tensor = self.network(input_ids=tokens, attention_mask=(tokens != self._padding).long()).logits
        return logits


def from_transformers(
    *, checkpoint: str, input_shape: tuple[int, ...], outputs: int, weights: str | None = "pretrained"
) -> TextClassifier:
    """Returns a text classifier with a new head.

    Args:
        checkpoint: of the hub, such as ``FacebookAI/roberta-large``, or a folder with ``config.json`` and weights.
        input_shape: ``(length,)`` of the token ids.
        outputs: number of logits.
        weights: ``pretrained``; None: random ones, of which ``config.json`` gives the sizes.

    Raises:
        PlaceError: if the checkpoint is not there and cannot be downloaded.
        UserError: if transformers is not installed.
        ValueError: if the texts are longer than the model takes, or are none.
    """
    if weights not in ("pretrained", None):
        raise ValueError(f"weights={weights}: choose pretrained or null")
    if len(input_shape) != 1:
        raise ValueError("takes token ids, one dimension; choose a dataset of texts such as commonsense_qa")
    try:
        from transformers import AutoConfig, AutoModelForSequenceClassification
    except ImportError as error:
        raise missing_library("text", error) from error
    config: Any = from_hub(
        "model.checkpoint",
        checkpoint,
        lambda **local: AutoConfig.from_pretrained(checkpoint, num_labels=outputs, **local),
    )
    padding = int(config.pad_token_id or 0)
    longest = config.max_position_embeddings - (padding + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0)
    if input_shape[0] > longest:
        raise ValueError(
            f"texts have up to {input_shape[0]} tokens, it takes {longest}; choose a model that takes more"
        )
    if weights is None:
        return TextClassifier(AutoModelForSequenceClassification.from_config(config), padding)
    network = from_hub(
        "model.checkpoint",
        checkpoint,
        lambda **local: AutoModelForSequenceClassification.from_pretrained(checkpoint, config=config, **local),
    )
    return TextClassifier(network.float(), padding)


_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")
"""Models whose positions are counted from the id of the padding on."""
