"""Lets torchvision's CUDA wheel import under a CPU build of PyTorch, in the environment that run.py makes.

The compiled part of that wheel needs CUDA libraries and stays unloaded; torchvision then fails while describing two
operators that do not exist. This hook declares the two just before. Transforms and models work, and the operators
themselves refuse with a sentence, so nothing can be computed wrongly. run.py puts this file and a .pth file that
imports it beside torchvision, and only where torchvision cannot be imported without.
"""

import sys


class DeclareOperators:
    """A finder that finds nothing: it only notices that torchvision is about to describe its operators."""

    library = None  # kept: the declarations live as long as this object

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torchvision._meta_registrations" and cls.library is None:
            cls.declare()
        return None

    @classmethod
    def declare(cls):
        import torch
        from torchvision.extension import _has_ops

        if _has_ops():
            return
        cls.library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            cls.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, DeclareOperators)
