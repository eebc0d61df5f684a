"""The hosts that runs, data and pretrained weights come from or go to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from dst.data.sources.torchvision import CIFAR_URL, MNIST_URL
from dst.run.wandb_tracker import has_credentials

from .finding import Finding

_WANDB_URL = "https://api.wandb.ai"
_TIMEOUT_S = 3.0


def check_network() -> Iterator[Finding]:
    """Tries to connect to each host; one that cannot be reached is no fault, since nodes often have no network."""
    wandb_url = os.environ.get("WANDB_BASE_URL", _WANDB_URL)
    use = {
        wandb_url: ("Weights & Biases", "runs are logged offline, upload them afterwards with launch sync"),
        CIFAR_URL: ("CIFAR", "prepare data where there is a network: python -m dst.data prepare dataset=cifar10"),
        MNIST_URL: ("MNIST", "prepare data where there is a network: python -m dst.data prepare dataset=mnist"),
        "https://download.pytorch.org": ("torchvision's weights", "fill TORCH_HOME where there is a network"),
        "https://huggingface.co": ("timm and transformers", "fill HF_HOME where there is a network"),
    }
    with ThreadPoolExecutor(len(use)) as threads:
        reached = dict(zip(use, threads.map(reachable, use), strict=True))
    for url, (what, otherwise) in use.items():
        host = urlsplit(url).netloc
        yield (
            Finding("ok", f"{host} ({what})")
            if reached[url]
            else Finding("note", f"{host} ({what}): cannot be reached from here; {otherwise}")
        )
    if not has_credentials(wandb_url):
        yield Finding("note", f"no API key for {wandb_url}: runs are logged offline until you type wandb login")


def reachable(url: str) -> bool:
    """Returns whether the host of a URL accepts a connection within seconds, through the proxy if there is one."""
    parts = urlsplit(url)
    proxy = os.environ.get(f"{parts.scheme}_proxy") or os.environ.get(f"{parts.scheme.upper()}_PROXY")
    target = urlsplit(proxy) if proxy else parts
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
        socket.create_connection((target.hostname or "", port), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True
