"""The three stages (§3.4) as data: what trains, what is dropped, what is minimised, on which clips, for how long."""

import re
from dataclasses import dataclass, field

from torch import nn

from ..model.lora import add_lora
from ..network import Network
from .ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, SHARE, check_ranges

BINDING = r"transformer\.transformer_blocks\.\d+\.({})\."
LORA = r"transformer\..*\.lora_[AB]\."
PARTS = {
    "transformer": r"transformer\.(?!transformer_blocks\.\d+\.(face|audio)\.)(?!.*\.lora_[AB]\.)",
    "face cross-attention": BINDING.format("face"),
    "audio cross-attention": BINDING.format("audio"),
    "face extractor": r"face_extractor\.",
    "speech projector": r"speech_projector\.(?!mute_learnable_tokens|learnable_scale)",  # nothing reads those two
    "router": r"router\.",
    "lora": LORA,
}


@dataclass(frozen=True)
class Drops:
    """How often a condition is left out, so that guidance can do without it. What "dropped" means is what sampling
    means by it: text is the empty prompt, speech the projected silence of zeros, a picture zero latents; without its
    reference a character has a face of zeros as well, as in the first pass of Post-Denoise."""

    text: float = 0.0
    reference: float = 0.05
    first_frame: float = 0.05
    speech: float = 0.05

    def __post_init__(self):
        check_ranges(self, dict.fromkeys(vars(self), SHARE), "the drop of")


@dataclass(frozen=True)
class LossWeights:
    """Of eq. 1 to 4. The last three count in stages that train the router."""

    denoising: float = 1.0
    routing: float = 1.0
    smoothness: float = 0.001
    agreement: float = 8.0

    def __post_init__(self):
        check_ranges(self, dict.fromkeys(vars(self), AT_LEAST_0), "the weight of the loss")


RANGES = {
    "steps": AT_LEAST_1,
    "batch": AT_LEAST_1,
    "lora_rank": AT_LEAST_1,
    "warm_up": AT_LEAST_0,
    "learning_rate": ABOVE_0,
    "dynamic_mask": SHARE,
    "single_character": SHARE,
    "teacher_forcing": SHARE,
    "mask_dropout": SHARE,
    "mask_noise": AT_LEAST_0,
}


@dataclass(frozen=True)
class Stage:
    """One stage.

    trains: names of PARTS. hears: whether there is speech at all. dynamic_mask: share of rows in which eq. 1 looks only
    at the faces, or, where these are not known, at the characters. single_character: share of rows whose clip shows one
    character, its conditions replicated. teacher_forcing: share of passes in which the true masks are injected, with
    `mask_dropout` of their values lost and noise of `mask_noise` added; in the others the router's own are. lora_rank:
    of adapters, if they train. batch: clips per step, over all processes. warm_up: steps until the learning rate is
    reached; then it falls to zero as a cosine.
    """

    name: str
    trains: tuple[str, ...]
    steps: int
    drops: Drops = field(default_factory=Drops)
    losses: LossWeights = field(default_factory=LossWeights)
    hears: bool = True
    dynamic_mask: float = 0.5
    single_character: float = 0.5
    teacher_forcing: float = 1.0
    mask_dropout: float = 0.1
    mask_noise: float = 0.1
    lora_rank: int = 128
    batch: int = 16
    learning_rate: float = 1e-5
    warm_up: int = 100

    def __post_init__(self):
        """Raises ValueError for numbers out of RANGES, for a part that no model has or none at all, and for a learned
        router that would be used untrained."""
        check_ranges(self, RANGES, f"{self.name}:")
        if not self.trains:
            raise ValueError(f"{self.name} trains nothing; name some of {', '.join(PARTS)}")
        if unknown := [part for part in self.trains if part not in PARTS]:
            raise ValueError(f"{self.name} trains {', '.join(unknown)}; there are {', '.join(PARTS)}")
        if self.teacher_forcing < 1 and not self.routes:
            raise ValueError(f"{self.name} does not train the router, so teacher_forcing should be 1")

    @property
    def routes(self) -> bool:
        return "router" in self.trains


STAGES = (
    Stage(
        name="stage 1",
        trains=("transformer", "face cross-attention", "face extractor"),
        steps=10_000,
        drops=Drops(first_frame=0.5),
        hears=False,
    ),
    Stage(
        name="stage 2",
        trains=("speech projector", "face cross-attention", "audio cross-attention", "face extractor", "lora"),
        steps=40_000,
    ),
    Stage(
        name="stage 3",
        trains=("router", "face cross-attention", "audio cross-attention", "lora"),
        steps=10_000,
    ),
)


def adapt(network: Network, stage: Stage) -> None:
    """Puts new adapters beside the attention's queries and keys if the stage trains them. Those of the stage before
    are part of the weights by now."""
    if "lora" in stage.trains:
        add_lora(network.transformer, stage.lora_rank, stage.lora_rank)


def freeze(network: Network, stage: Stage) -> dict[str, nn.Parameter]:
    """Only the stage's parts train from here on; gives them by name. Raises ValueError when one does not exist."""
    network.requires_grad_(False)
    parameters = dict(network.named_parameters())
    trained: dict[str, nn.Parameter] = {}
    for part in stage.trains:
        found = {name: p for name, p in parameters.items() if re.match(PARTS[part], name)}
        if not found:
            raise ValueError(f"{stage.name} trains the {part}, but {network.config.name} has none")
        trained |= found
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return trained
