"""One format of weights to another, without building the model: the same numbers under other names."""

from pathlib import Path
from typing import Literal

from ..network import Network
from .fit import CheckpointError, gather
from .load import read_checkpoint
from .released import write_released
from .single_file import write_state


def convert(source: str | Path, target: str | Path, to: Literal["byav", "released"] = "byav") -> None:
    """byav: one safetensors file. released: the authors' folder of five files. Adapters are merged on the way.

    Text encoder and VAE stay where they are. Raises FileExistsError when the target is there already,
    FileNotFoundError and CheckpointError as loading does.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target} is already there; name another target or move it away")
    checkpoint = read_checkpoint(Path(source))
    network = Network.on_meta(checkpoint.config)
    state = checkpoint.fitted(network)
    if untrained := checkpoint.untrained(network):
        raise CheckpointError(
            f"{source} is a base model without {', '.join(gather(untrained))}; it can be loaded as a start of "
            "training, but there is no whole model to convert"
        )
    if to == "released":
        write_released(state, checkpoint.config, target)
    else:
        write_state(state, checkpoint.config, target)
