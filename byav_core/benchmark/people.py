"""Who is seen somewhere, and where somebody is: heads drawn anew and laid over the picture until they fit.

Nothing here is learned. A head fits where the mean square of the difference of colours under it is small, the mouth
left out; pictures are made coarse first, which is quicker and forgives the pose.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from ..synthetic.background import light_of
from ..synthetic.chance import chance
from ..synthetic.identity import Identity, Outfit, draw_people
from ..synthetic.person import MOUTH_BELOW, MOUTH_OPEN, MOUTH_WIDTH, Head, Light, Pose, paint_person
from ..types import Character
from .scenes import HeldOut

YAWS = (-0.4, 0.0, 0.4)
REACH = 1.5  # of a template around the middle of the face, in halves of the height of a head
FINENESS = 7  # coarse pixels in half the height of a head
INSIDE = 0.9  # of the best cover by a mask that any place offers: a head is looked for where there is as much
IN_PICTURE = 0.6  # share of a head that the picture must hold
DISTRACTORS = 8
LOOKS = 4  # frames in which people are recognised


@dataclass(frozen=True)
class Templates:
    """Heads at several yaws: coarse pictures, black where the covers are 0, whose each is, and its yaw.

    coarse: pixels of the picture in a row of one coarse pixel.
    """

    pictures: Float[Tensor, "k 3 h w"]
    covers: Float[Tensor, "k 1 h w"]
    whose: tuple[str, ...]
    yaws: tuple[float, ...]
    coarse: int

    def of(self, key: str) -> Bool[Tensor, " k"]:
        return torch.tensor([whose == key for whose in self.whose])

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.whose))


def suspects(scene: HeldOut) -> dict[str, Identity]:
    """Everybody it could be, by key: the people of the scene, and held-out others with every colour of hair."""
    others = draw_people(chance("distractors", scene.plan.seed), scene.spec.split, DISTRACTORS)
    return {who.key: who for who in (*scene.plan.people, *others)}


def head_templates(scene: HeldOut, people: dict[str, Identity]) -> Templates:
    """Each of them bareheaded and in every hat of the scene, in the scene's light and size."""
    plan, head = scene.plan, float(scene.heads.mean())
    bare = replace(plan.outfits[0], hat="none")
    hats = {(outfit.hat, outfit.hat_colour): outfit for outfit in plan.outfits if outfit.hat != "none"}
    coarse, light = max(1, round(head / FINENESS)), light_of(plan.background)
    looks = [(key, outfit) for key in people for outfit in (bare, *hats.values())]
    drawn = [_heads(people[key], outfit, light, head, coarse) for key, outfit in looks]
    pictures, covers = zip(*drawn, strict=True)
    whose = tuple(key for key, _ in looks for _ in YAWS)
    return Templates(torch.cat(pictures), torch.cat(covers), whose, YAWS * len(looks), coarse)


def recognise(
    frames: Float[Tensor, "f 3 H W"],
    masks: Float[Tensor, "n f H W"],
    visible: Bool[Tensor, "n f"],
    templates: Templates,
) -> Float[Tensor, "n people"]:
    """How badly each of the templates' people fits what is under each mask, over a few frames where it is visible."""
    times = torch.linspace(0, len(frames) - 1, LOOKS).round().long()
    misfit = misfits(frames[times], templates)
    per_mask = [
        _misfit_within(misfit, mask[times], seen[times], templates) for mask, seen in zip(masks, visible, strict=True)
    ]
    return torch.stack(per_mask)


def misfits(frames: Float[Tensor, "f 3 H W"], templates: Templates) -> Float[Tensor, "f k h w"]:
    """Mean square difference under each template, laid with its middle on each coarse pixel; infinite where too much
    of it would be outside of the picture."""
    seen = avg_pool2d(frames, templates.coarse)
    everywhere = torch.ones_like(seen[:1, :1])
    colours = templates.pictures / templates.covers.clamp(min=1e-4)
    energy = (templates.pictures * colours).sum(dim=1, keepdim=True)
    inside = _laid(everywhere, templates.covers)
    squares = _laid(seen.square().sum(dim=1, keepdim=True), templates.covers)
    misfit = (squares - 2 * _laid(seen, templates.pictures) + _laid(everywhere, energy)) / inside.clamp(min=1e-3)
    return misfit.where(inside >= IN_PICTURE * _areas(templates), torch.inf)


def _misfit_within(
    misfit: Float[Tensor, "f k h w"],
    mask: Float[Tensor, "f H W"],
    seen: Bool[Tensor, " f"],
    templates: Templates,
) -> Float[Tensor, " people"]:
    """Where the mask covers a head as well as anywhere; of all frames if it is visible in none of them."""
    covered = _laid(avg_pool2d(mask, templates.coarse)[:, None], templates.covers)
    allowed = covered >= INSIDE * covered.where(misfit.isfinite(), 0).amax(dim=(-2, -1), keepdim=True)
    best = misfit.where(allowed, torch.inf).amin(dim=(-2, -1))
    best = torch.stack([best[:, templates.of(key)].amin(dim=1) for key in templates.keys], dim=1)
    return best[seen if seen.any() else slice(None)].mean(dim=0)


@dataclass(frozen=True)
class DrawnPeople:
    """Finds the people of one scene in any picture of the drawn world, by their heads: what face recognition and a
    segmenter do for filmed people. A character locator and a video segmenter; the cast is in the scene's order."""

    scene: HeldOut

    def __call__(self, video: Float[Tensor, "*f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n *f H W"]:
        if video.ndim == 3:
            return self(video[None], cast)[:, 0]
        people = {who.key: who for who in self.scene.plan.people}
        templates = head_templates(self.scene, people)
        misfit = misfits(video, templates)
        return torch.stack([self._silhouette(video, i, misfit, templates) for i in range(len(people))])

    def _silhouette(
        self, video: Float[Tensor, "f 3 H W"], i: int, misfit: Float[Tensor, "f k h w"], templates: Templates
    ) -> Float[Tensor, "f H W"]:
        """The person painted where the head fits best."""
        plan = self.scene.plan
        of_them = templates.of(plan.people[i].key)
        yaws, width = torch.tensor(templates.yaws)[of_them], misfit.shape[-1]
        best = misfit[:, of_them].flatten(1).argmin(dim=1)
        place = best % misfit[0, 0].numel()
        x, y = ((place % width + 0.5) * templates.coarse, (place // width + 0.5) * templates.coarse)
        pose = _held(x, y, float(self.scene.heads[i]), yaws[best // misfit[0, 0].numel()])
        light = light_of(plan.background)
        return paint_person(torch.zeros_like(video), pose, plan.people[i], plan.outfits[i], light).person


def _heads(who: Identity, outfit: Outfit, light: Light, head: float, coarse: int) -> tuple[Tensor, Tensor]:
    """A row of yaws: coarse pictures and covers, of an odd number of coarse pixels, without the mouth."""
    side = coarse * (2 * math.ceil(REACH * head / coarse) + 1)
    middle = torch.full((len(YAWS),), side / 2)
    picture = torch.zeros(len(YAWS), 3, side, side)
    layer = Head(picture, _held(middle, middle, head, torch.tensor(YAWS)), who, outfit, light).layer
    cover = torch.zeros(len(YAWS), 1, side, side)
    layer.window.of(picture).copy_(layer.colour)
    layer.window.of(cover).copy_(layer.cover[:, None])
    kept = _beside_the_mouth(side, head)
    return avg_pool2d(picture * kept, coarse), avg_pool2d(cover * kept, coarse)


def _beside_the_mouth(side: int, head: float) -> Float[Tensor, "h w"]:
    """0 where a mouth may be, 1 elsewhere."""
    at = (torch.arange(side) + 0.5 - side / 2) / head
    across, down = at / (1.5 * MOUTH_WIDTH), (at - MOUTH_BELOW - MOUTH_OPEN / 4) / (1.4 * MOUTH_OPEN)
    return (across[None, :] ** 2 + down[:, None] ** 2 > 1).float()


def _held(x: Tensor, y: Tensor, head: float, yaw: Tensor) -> Pose:
    """Upright, with the mouth shut and the eyes open."""
    rest = torch.zeros(len(x))
    return Pose(x.float(), y.float(), x.float(), torch.full((len(x),), head), yaw, rest, rest, rest)


def _laid(picture: Float[Tensor, "#f c H W"], kernels: Float[Tensor, "k c h w"]) -> Float[Tensor, "#f k H W"]:
    height, width = kernels.shape[-2:]
    return conv2d(picture, kernels, padding=(height // 2, width // 2))


def _areas(templates: Templates) -> Float[Tensor, "k 1 1"]:
    return templates.covers.sum(dim=(2, 3))[..., None]
