"""What every reader returns, whatever the format: a configuration and tensors under the names of the files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..config import ModelConfig
from ..network import Network
from .fit import require_fit


@dataclass(frozen=True)
class Checkpoint:
    """Weights found on disk, not yet fitted to a network.

    tensors: mapped from disk, under the files' own names. files: the file each came from.
    rename: a parameter of the network -> its name in the files. home: the file in which a missing name should be.
    finish: what is left to do with the tensors before they fit (adapters to merge, channels to add); shapes suffice.
    lacks: what the names begin with of the parts that this format does not have, so that they start untrained.
    companions: the state dicts of the text encoder ("text") and video autoencoder ("video"), where the file has them.
    """

    format: str
    config: ModelConfig
    tensors: dict[str, Tensor]
    files: dict[str, Path]
    rename: Callable[[str], str]
    home: Callable[[str], Path]
    finish: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    lacks: tuple[str, ...] = ()
    companions: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def fitted(self, network: Network) -> dict[str, Tensor]:
        """The tensors under the network's names. Raises CheckpointError with everything that does not fit."""
        tensors = self.finish(self.tensors)
        shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
        names = {key: name for key in shapes if not (name := self.rename(key)).startswith(self.lacks)}
        require_fit(
            {name: shapes[key] for key, name in names.items()},
            {name: tensor.shape for name, tensor in tensors.items()},
            lambda name: self.files.get(name) or self.home(name),
            self.config.name,
        )
        return {key: tensors[name] for key, name in names.items()}

    def untrained(self, network: Network) -> list[str]:
        """Parameters of the network that this format does not have."""
        return [key for key in network.state_dict() if self.rename(key).startswith(self.lacks)]
