"""Weights on disk: what a file is, models from it, files from models, and one format to another."""

from .convert import convert
from .describe import inspect
from .fit import CheckpointError
from .load import detect, load_models, load_network
from .single_file import save_models, save_network

__all__ = [
    "CheckpointError",
    "convert",
    "detect",
    "inspect",
    "load_models",
    "load_network",
    "save_models",
    "save_network",
]
