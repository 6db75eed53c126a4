"""Scenes from a seed: first a plan in words (who, where, what happens, who says what), then pictures and the truth.

The same seed and the same settings give the same bytes. What a plan names by a key belongs to one split for ever.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from numpy.random import RandomState
from torch import Tensor

from ..clip import Sample, Truth, as_stored
from ..types import Audio
from .background import PLACES as BACKGROUNDS
from .background import draw_background, light_of, paint_background, place_of
from .chance import SPLITS, Split, chance, one_of
from .drawing import rgb
from .identity import Identity, Outfit, draw_outfits, draw_people
from .motion import KINDS, PLACES, TOGETHER, Place, Stage, draw_motion, kind_of, move, talking
from .mouth import mouth_opening, speaking
from .person import Light, Pose, paint_person
from .prompt import describe
from .voices import OTHER_SOUNDS, RATE, voices_of

MODES = ("one", "turns", "overlap", "silent")
BINDINGS = ("own", "shuffled", "shared", "mute")
LARGEST = {"width": 4096, "height": 4096, "frames": 10_000, "fps": 240, "reference_size": 4096}


@dataclass(frozen=True)
class WorldSpec:
    """What is drawn. Where there are several choices, each is as likely as it is often named.

    people: how many. motions, backgrounds: kinds. modes: who speaks when: one, in turns, all at once, nobody.
    sounds: of each stream: speech, or noise, music or silence as bad cases.
    bindings: the matrix: everybody their own stream (own), the streams in another order (shuffled), one stream for
    two (shared), a stream that nobody speaks (mute). voices: a folder of real speech; without it there is babble.
    """

    split: Split = "train"
    width: int = 96
    height: int = 64
    frames: int = 17
    fps: float = 12.5
    people: tuple[int, ...] = (1, 2, 2, 2)
    motions: tuple[str, ...] = tuple(KINDS)
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    modes: tuple[str, ...] = ("one", "turns", "overlap", "overlap", "overlap", "silent")
    sounds: tuple[str, ...] = ("speech",) * 13 + ("noise", "music", "silence")
    bindings: tuple[str, ...] = ("own", "own", "shuffled", "shuffled", "shared", "mute")
    reference_size: int = 64
    voices: str | None = None

    def __post_init__(self):
        """Raises ValueError naming what cannot be drawn."""
        known = {
            "people": (self.people, tuple(PLACES)),
            "motions": (self.motions, tuple(KINDS)),
            "backgrounds": (self.backgrounds, tuple(BACKGROUNDS)),
            "modes": (self.modes, MODES),
            "sounds": (self.sounds, ("speech", *OTHER_SOUNDS)),
            "bindings": (self.bindings, BINDINGS),
            "split": ((self.split,), SPLITS),
        }
        for name, (chosen, possible) in known.items():
            wrong = [one for one in chosen if one not in possible]
            if wrong or not chosen:
                said, choices = ", ".join(map(str, wrong)) or "none", ", ".join(map(str, possible))
                raise ValueError(f"{name}: {said} cannot be drawn; choose among {choices}")
        if 1 in self.people and set(self.motions) <= set(TOGETHER):
            raise ValueError(f"{', '.join(self.motions)} needs two people; add another motion, or ask for no 1 person")
        for name, most in LARGEST.items():
            if not 1 <= (value := getattr(self, name)) <= most:  # what is no number at all is not between them, either
                raise ValueError(f"a world with {name} {value} cannot be drawn; choose from 1 to {most}")

    @property
    def stage(self) -> Stage:
        return Stage(self.frames, self.height, self.width, self.fps)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class Plan:
    """A scene in words, people in the order of the sample. depth: the people from the farthest to the nearest.

    voices: for each stream the key of a voice, or the name of another sound.
    """

    seed: int
    people: tuple[Identity, ...]
    outfits: tuple[Outfit, ...]
    places: tuple[Place, ...]
    depth: tuple[int, ...]
    motion: str
    background: str
    mode: str
    voices: tuple[str, ...]
    audio_to_character: Float[Tensor, "m n"]

    @property
    def prompt(self) -> str:
        return describe(self.people, self.outfits, self.places, kind_of(self.motion), place_of(self.background))


@dataclass(frozen=True)
class Pictures:
    """The frames of a scene, and the visible pixels of each person, face and mouth; of a mouth as if it were wide
    open."""

    frames: Float[Tensor, "f 3 H W"]
    masks: Float[Tensor, "n f H W"]
    faces: Float[Tensor, "n f H W"]
    lips: Float[Tensor, "n f H W"]


def draw_scene(seed: int, spec: WorldSpec) -> Sample:
    """A scene of the world with its truth, from the seed alone."""
    plan = plan_scene(seed, spec)
    streams = _streams(plan, spec)
    mouths = _mouths(streams, plan, spec)
    shown = draw_pictures(plan, mouths, spec)
    return as_stored(
        Sample(
            name=f"{spec.split}-{seed:08}",
            frames=shown.frames,
            fps=spec.fps,
            masks=shown.masks,
            references=tuple(_reference(plan, i, spec) for i in range(len(plan.people))),
            streams=streams,
            audio_to_character=plan.audio_to_character,
            prompt=plan.prompt,
            truth=Truth(
                mouths=mouths,
                speaking=speaking(mouths, spec.fps).float(),
                faces=shown.faces,
                lips=shown.lips,
                identities=tuple(who.key for who in plan.people),
            ),
        )
    )


def plan_scene(seed: int, spec: WorldSpec) -> Plan:
    random = chance("scene", spec.split, seed)
    count = one_of(random, spec.people)
    standing = random.permutation(len(PLACES[count]))[:count]
    places = tuple(PLACES[count][i] for i in standing)
    matrix = _matrix(random, one_of(random, spec.bindings), count)
    return Plan(
        seed=seed,
        people=draw_people(random, spec.split, count),
        outfits=draw_outfits(random, count),
        places=places,
        depth=tuple(sorted(range(count), key=lambda i: (places[i].row, random.uniform()))),
        motion=draw_motion(random, spec.split, spec.motions, count),
        background=draw_background(random, spec.split, spec.backgrounds),
        mode=one_of(random, spec.modes),
        voices=tuple(_voice(random, spec) for _ in matrix),
        audio_to_character=matrix,
    )


def draw_sounds(seed: int, spec: WorldSpec) -> tuple[Audio, ...]:
    """The streams of the scene of that seed."""
    return _streams(plan_scene(seed, spec), spec)


def _voice(random: RandomState, spec: WorldSpec) -> str:
    sound = one_of(random, spec.sounds)
    return voices_of(spec.voices).draw(random, spec.split) if sound == "speech" else sound


def _matrix(random: RandomState, binding: str, count: int) -> Float[Tensor, "m n"]:
    """A^ac. With one person alone, `shared` is `own`."""
    matrix = torch.eye(count)
    if binding == "shuffled":
        matrix = matrix[torch.from_numpy(random.permutation(count))]
    elif binding == "shared" and count > 1:
        kept, other = random.permutation(count)[:2]
        matrix[kept, other] = 1
        matrix = matrix[torch.arange(count) != other]
    elif binding == "mute":
        matrix[random.randint(count)] = 0
    return matrix


def _streams(plan: Plan, spec: WorldSpec) -> tuple[Audio, ...]:
    """The sounds, each heard when it is its turn."""
    random = chance("sound", spec.split, plan.seed)
    turns = _turns(random, plan.mode, len(plan.voices), round(spec.seconds * RATE))
    sounds = [_sound(random, key, spec) * 10 ** random.uniform(-0.1, 0.1) for key in plan.voices]
    return tuple(Audio(sound * turn, RATE) for sound, turn in zip(sounds, turns, strict=True))


def _sound(random: RandomState, key: str, spec: WorldSpec) -> Float[Tensor, " samples"]:
    if key in OTHER_SOUNDS:
        return OTHER_SOUNDS[key](random, spec.seconds)
    return voices_of(spec.voices).say(random, key, spec.seconds)


def _turns(random: RandomState, mode: str, streams: int, samples: int) -> Float[Tensor, "m samples"]:
    """1 while a stream is heard."""
    heard = torch.zeros(streams, samples)
    if mode == "overlap":
        heard += 1
    elif mode == "one":
        heard[random.randint(streams)] = 1
    elif mode == "turns":
        cuts = (torch.arange(streams + 1) + torch.from_numpy(random.uniform(-0.2, 0.2, streams + 1))) / streams
        cuts[0], cuts[-1] = 0, 1
        for turn, stream in enumerate(random.permutation(streams)):
            heard[stream, round(float(cuts[turn]) * samples) : round(float(cuts[turn + 1]) * samples)] = 1
    return heard


def _mouths(streams: tuple[Audio, ...], plan: Plan, spec: WorldSpec) -> Float[Tensor, "n f"]:
    """Everybody opens their mouth to the sum of the streams that the matrix gives them."""
    sounds = torch.stack([audio.waveform for audio in streams])
    own = plan.audio_to_character.T @ sounds
    return torch.stack([mouth_opening(Audio(sound, RATE), spec.frames, spec.fps) for sound in own])


def draw_pictures(plan: Plan, mouths: Float[Tensor, "n f"], spec: WorldSpec) -> Pictures:
    """The mouths as open as told. Painted from the farthest to the nearest; who is nearer takes the pixels from those
    behind."""
    background = paint_background(plan.background, spec.height, spec.width)
    frames = background.repeat(spec.frames, 1, 1, 1)
    masks, faces, lips = torch.zeros(3, len(plan.people), spec.frames, spec.height, spec.width)
    light, poses = light_of(plan.background), move(plan.motion, plan.places, spec.stage)
    for i in plan.depth:
        pose = talking(poses[i], mouths[i], chance("blinks", spec.split, plan.seed, i), spec.stage)
        cover = paint_person(frames, pose, plan.people[i], plan.outfits[i], light)
        for planes, own in ((masks, cover.person), (faces, cover.face), (lips, cover.mouth)):
            planes *= 1 - cover.person
            planes[i] = own
    return Pictures(frames, masks, faces, lips)


def _reference(plan: Plan, i: int, spec: WorldSpec) -> Float[Tensor, "3 h w"]:
    return draw_portrait(chance("reference", spec.split, plan.seed, i), plan.people[i], spec.reference_size)


def draw_portrait(random: RandomState, who: Identity, size: int) -> Float[Tensor, "3 size size"]:
    """Another day: other light, other clothes, no hat, the head held otherwise, before a plain wall."""
    wall = rgb(*random.uniform(0.72, 0.95, 3).tolist())
    picture = wall[None, :, None, None].repeat(1, 1, size, size)
    light = Light(random.choice([-0.7, 0.7]), random.uniform(-0.8, 0.2), random.uniform(0.06, 0.2), _tint(random))
    outfit = replace(draw_outfits(random, 1)[0], hat="none")
    pose = _portrait(random, size)
    paint_person(picture, pose, who, outfit, light)
    return picture[0].clamp(0, 1)


def _portrait(random: RandomState, size: int) -> Pose:
    def held(value: float) -> Float[Tensor, "1"]:
        return torch.tensor([value], dtype=torch.float32)

    x = size * random.uniform(0.46, 0.54)
    return Pose(
        x=held(x),
        y=held(size * random.uniform(0.47, 0.53)),
        body=held(x),
        scale=held(size * random.uniform(0.30, 0.34)),
        yaw=held(random.uniform(-0.35, 0.35)),
        roll=held(random.uniform(-0.12, 0.12)),
        mouth=held(0.0),
        blink=held(0.0),
    )


def _tint(random: RandomState) -> tuple[float, float, float]:
    warm = random.uniform(-0.06, 0.06)
    bright = random.uniform(0.88, 1.02)
    return (bright * (1 + warm), bright, bright * (1 - warm))
