"""Pictures from files: any format that Pillow reads, upright, transparency on white."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

DEEP = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "I": 65535, "F": 1}  # Pillow's modes, and white


def read_picture(path: str | Path) -> Float[Tensor, "3 H W"]:
    """0..1, turned as the camera says. Raises FileNotFoundError, or ValueError naming the file."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no picture {path}")
    try:
        with Image.open(path) as file:
            picture = _eight_bits(ImageOps.exif_transpose(file)).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}); use PNG, JPEG or WebP") from error
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return rearrange(torch.from_numpy(np.array(on_white)), "h w c -> c h w").float() / 255


def _eight_bits(picture: "Image.Image") -> "Image.Image":
    """Pillow cuts deeper greys off at 255 instead of scaling them, so that nearly all of them would be white."""
    import numpy as np
    from PIL import Image

    if picture.mode not in DEEP:
        return picture
    share = np.asarray(picture, np.float64).clip(0, DEEP[picture.mode]) / DEEP[picture.mode]
    return Image.fromarray((share * 255).round().astype(np.uint8))
