"""A name, a file or a folder to models in memory."""

from pathlib import Path

import torch

from ..network import Models, Network


def load_network(path: str | Path, *, dtype: torch.dtype | None = None) -> Network:
    """The trained parts from one of our files, a released folder, or a base model folder as a start."""
    raise NotImplementedError


def load_models(
    name_or_path: str | Path,
    *,
    companions: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> Models:
    """ "tiny" (built in, no files), one of our .safetensors, a released folder or a base model folder.

    companions: folder with text_encoder/, tokenizer/ and vae/; by default the folder of the weights itself.
    dtype: by default as stored.
    """
    raise NotImplementedError
