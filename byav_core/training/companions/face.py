"""The small face encoder learns to tell who is who: all that makes an identity, from portraits of different days."""

from collections.abc import Callable

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, mse_loss, normalize

from ...config import FaceEncoderConfig
from ...encoders.aligned_face import whole_picture
from ...encoders.face_insight_clip import clip_input, untrained_networks
from ...encoders.untrained import seeded_weights
from ...synthetic.chance import Split, chance
from ...synthetic.identity import BEARDS, GLASSES, HAIRS, IRISES, SHAPES, SKINS, STYLES, draw_people
from ...synthetic.world import draw_portrait
from .learning import Learning, Report, learn

LEARNING = Learning(steps=600, rows=32, examples=1200, test=150)
SIDE = 64  # pixels of a portrait, and of what the recogniser sees
DISTINCT = 0.1  # temperature: how much nearer the same identity should be than all others
QUESTIONS: dict[str, tuple[str, ...]] = {
    "skin": tuple(SKINS),
    "hair": tuple(HAIRS),
    "style": STYLES,
    "shape": SHAPES,
    "iris": tuple(IRISES),
    "glasses": tuple(sorted(set(GLASSES))),
    "beard": tuple(sorted(set(BEARDS))),
}


class Portraits:
    """`count` people, each on two days, as the pipeline hands them to the networks when no face is found in a drawn
    picture. tower, recogniser: what these see, "two n 3 size size"."""

    def __init__(self, split: Split, count: int, config: FaceEncoderConfig, draw: Callable = draw_portrait):
        random = chance("faces to tell apart", split)
        people = [draw_people(random, split, 1)[0] for _ in range(count)]
        days = [[draw(random, who, SIDE) for who in people] for _ in range(2)]
        crops = [[whole_picture(picture).crop for picture in day] for day in days]
        self.tower = torch.stack([torch.stack([clip_input(crop, config) for crop in day]) for day in crops])
        self.recogniser = torch.stack([torch.stack([_small(crop) for crop in day]) for day in crops])
        self.truth = {
            name: torch.tensor([answers.index(getattr(who, name)) for who in people])
            for name, answers in QUESTIONS.items()
        }


def _small(crop: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 h w"]:
    """As the recogniser makes it smaller, which then leaves it as it is."""
    return interpolate(crop[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]


class FaceLearner(nn.Module):
    """Asks the recognition vector, the embedding and every feature map for the looks of a face, and every patch of a
    feature map for the colours that it shows."""

    def __init__(self, config: FaceEncoderConfig, seed: int):
        super().__init__()
        self.networks = untrained_networks(config, seed)
        self.patch = config.patch_size
        sizes = [config.recognition_dim, config.embed_dim, *[config.width] * len(config.taps)]
        with seeded_weights(seed):
            self.looks = nn.ModuleList(
                nn.ModuleDict({name: nn.Linear(size, len(of)) for name, of in QUESTIONS.items()}) for size in sizes
            )
            self.colours = nn.ModuleList(nn.Linear(config.width, 3 * 4) for _ in config.taps)

    def vectors(self, seen: Tensor, crops: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Recognition, embedding and the mean of each feature map; the feature maps."""
        embedding, maps = self.networks["tower"](seen)
        embedding = normalize(embedding, dim=-1) * embedding.shape[-1] ** 0.5
        return [self.networks["recogniser"](crops), embedding, *[tokens.mean(1) for tokens in maps]], maps

    def loss(self, seen: Tensor, crops: Tensor, truth: dict[str, Int[Tensor, " b"]]) -> Tensor:
        """Rows of two days, the first day first."""
        vectors, maps = self.vectors(seen, crops)
        asked = sum(
            cross_entropy(head(vector), truth[name])
            for vector, heads in zip(vectors, self.looks, strict=True)
            for name, head in heads.items()
        ) / len(vectors)
        colours = reduce(avg_pool2d(seen, self.patch // 2), "b c (h p) (w q) -> b (h w) (c p q)", "mean", p=2, q=2)
        painted = sum(mse_loss(head(tokens[:, 1:]), colours) for head, tokens in zip(self.colours, maps, strict=True))
        return asked + same_or_other(vectors[0]) + same_or_other(vectors[1]) + painted / len(maps)


def same_or_other(vectors: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """InfoNCE between the two days of everybody."""
    first, second = rearrange(normalize(vectors, dim=-1), "(two n) d -> two n d", two=2)
    alike = first @ second.T / DISTINCT
    everybody = torch.arange(len(first))
    return (cross_entropy(alike, everybody) + cross_entropy(alike.T, everybody)) / 2


def learn_faces(
    config: FaceEncoderConfig, learning: Learning = LEARNING, report: Report = lambda line: None
) -> tuple[nn.ModuleDict, dict[str, float]]:
    """The trained networks, and how well they tell people who were not trained on."""
    learner, portraits = FaceLearner(config, learning.seed), Portraits("train", learning.examples, config)

    def loss(rows: Tensor) -> Tensor:
        seen, crops = (x[:, rows].flatten(0, 1) for x in (portraits.tower, portraits.recogniser))
        truth = {name: answers[rows].repeat(2) for name, answers in portraits.truth.items()}
        return learner.loss(seen, crops, truth)

    learn([learner], loss, learning, report)
    return learner.networks, _score(learner.eval(), Portraits("test", learning.test, config))


@torch.no_grad()
def _score(learner: FaceLearner, portraits: Portraits) -> dict[str, float]:
    """Share of right answers of the recognition vector, the embedding and the last feature map; of people found again
    among all by either vector; and of pairs of portraits rightly told to be of one person or of two."""
    vectors, _ = learner.vectors(portraits.tower.flatten(0, 1), portraits.recogniser.flatten(0, 1))
    scores = {}
    for where, number in (("recognition", 0), ("embedding", 1), ("features", -1)):
        for name, head in learner.looks[number].items():
            right = head(vectors[number]).argmax(-1) == portraits.truth[name].repeat(2)
            scores[f"{where} {name}"] = float(right.float().mean())
    for where, number in (("recognition", 0), ("embedding", 1)):
        first, second = rearrange(normalize(vectors[number], dim=-1), "(two n) d -> two n d", two=2)
        alike = first @ second.T
        scores[f"{where} found again"] = float((alike.argmax(1) == torch.arange(len(first))).float().mean())
        scores[f"{where} verified"] = verified(alike)
    return scores


def verified(alike: Float[Tensor, "n n"]) -> float:
    """Balanced share of rightly told pairs at the best threshold: the diagonal is of one person, the rest of two."""
    same = alike.diagonal()
    other = alike[~torch.eye(len(alike), dtype=torch.bool)]
    thresholds = torch.linspace(-1, 1, 201)
    return max(float(((same > t).float().mean() + (other <= t).float().mean()) / 2) for t in thresholds)
