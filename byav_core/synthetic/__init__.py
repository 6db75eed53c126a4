"""A drawn world in which the truth is known: people who talk with real voices, their masks and their mouths."""

from .world import WorldSpec, draw_scene

__all__ = ["WorldSpec", "draw_scene"]
