"""Pictures from files: any format that Pillow reads, upright, transparency on white."""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def read_picture(path: str | Path) -> Float[Tensor, "3 H W"]:
    """0..1, turned as the camera says. Raises FileNotFoundError, or ValueError naming the file."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no picture {path}")
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}); use PNG, JPEG or WebP") from error
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return rearrange(torch.from_numpy(np.array(on_white)), "h w c -> c h w").float() / 255
