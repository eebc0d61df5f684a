"""Batch norm by the whole batch where several processes train a run, each on its share: ``recipe.sync_batch_norm``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dst import ranks
from dst.errors import UserError

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """Replaces batch norm by torch's SyncBatchNorm, which has the same parameters; one process alone needs none.

    Args:
        model: changed in place.
        device: that it will compute on.

    Returns:
        The model.

    Raises:
        UserError: on a device other than CUDA, or for batch norms of a class that torch cannot replace as a whole.
    """
    if ranks.size() == 1:
        return model
    if device.type != "cuda":
        raise UserError(
            f"recipe.sync_batch_norm=true: torch has it for CUDA only, and {ranks.size()} processes train this run on "
            f"{device.type}; give recipe.sync_batch_norm=false"
        )
    norms = {type(module) for module in model.modules() if isinstance(module, _BatchNorm)}
    if others := sorted(norm.__name__ for norm in norms.difference(_PLAIN)):
        # torch would put a plain SyncBatchNorm in their place, without what else they do (timm's: the activation)
        raise UserError(f"recipe.sync_batch_norm=true: not for models with {others[0]}; give false")
    synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return synced
