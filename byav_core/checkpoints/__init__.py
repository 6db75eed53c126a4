"""Weights on disk: what a file is, models from it, files from models, and one format to another."""

from .fit import CheckpointError
from .load import load_models, load_network

__all__ = ["CheckpointError", "load_models", "load_network"]
