"""Example inputs, made when they are needed: drawn people for the built-in model, photographs, and real speech.

Drawn: Anna, Ben, Carla and David, whom the built-in model never saw, from the world it was trained in. Photographs:
NASA's portrait of an astronaut in scikit-image, and a group photograph in insightface. Speech: eSpeak NG.
`python tests/real_inputs.py FOLDER` writes what the workflows load: each of the four as .png and .wav, together.png
with Anna on the left and Ben on the right, and anna_mask.png and ben_mask.png, where they are in it.
"""

import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # appended: ComfyUI's own `nodes` module keeps priority

if TYPE_CHECKING:
    from byav_core.synthetic.world import Plan
    from byav_core.types import Audio

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

TOGETHER: Box = (192, 90, 702, 430)  # a part of the group photograph that shows two people
PORTRAITS: dict[str, Box] = {"anna": (222, 85, 422, 325), "ben": (412, 195, 632, 455)}

LOOKS = {  # skin, hair, style, shape, iris, glasses, beard: none of them is in the training split
    "anna": ("fair", "blond", "long", "oval", "blue", "none", "none"),
    "ben": ("tan", "black", "side", "oval", "blue", "square", "none"),
    "carla": ("brown", "purple", "curly", "oval", "green", "none", "none"),
    "david": ("fair", "green", "spiky", "square", "green", "none", "moustache"),
}
SHIRTS = {"anna": "teal", "ben": "yellow", "carla": "white", "david": "blue"}
PLAYS = {2: ("swaying-001", "park-09"), 3: ("nodding-004", "beach-09"), 4: ("still-003", "studio-02")}
PORTRAIT = 256  # pixels
FIRST_FRAME = (384, 256)  # width, height
LOUDNESS = -20.0  # dB below full scale, as in the drawn world


@dataclass(frozen=True)
class Voice:
    """An eSpeak NG voice. pitch: 0..99. words: per minute. text: some seconds; line: about one, for the workflows."""

    language: str
    pitch: int
    words: int
    text: str
    line: str


VOICES = {
    "anna": Voice(
        "en-us+f3", 70, 170, "Did you see the game last night? I could not believe the end of it.", "Shall we go out?"
    ),
    "ben": Voice("en", 25, 150, "No, I was at work until nine. Please do not tell me who won.", "Yes, in a minute."),
    "carla": Voice("en-gb-scotland", 50, 185, "Well, you two, shall we watch it together then?", "Wait for me!"),
    "david": Voice("en-us+m3", 35, 180, "Only if somebody brings something to eat, as always.", "And for me!"),
}


def group_photograph() -> np.ndarray:
    """Six people at a table, (H W 3) in 0..255."""
    from insightface.data import get_image

    return np.ascontiguousarray(get_image("t1")[:, :, ::-1])


def pictures() -> dict[str, np.ndarray]:
    """Photographs: portraits of Anna, Ben and Carla, and Anna and Ben together, (H W 3) in 0..255."""
    from skimage.data import astronaut

    group = group_photograph()
    boxes = PORTRAITS | {"together": TOGETHER}
    return {name: cut(group, box) for name, box in boxes.items()} | {"carla": astronaut()}


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return picture[top:bottom, left:right].copy()


def play(people: int) -> "Plan":
    """A scene of the drawn world with the first so many of the four, from left to right, with their mouths shut."""
    import torch

    from byav_core.synthetic.identity import Identity, Outfit
    from byav_core.synthetic.motion import PLACES
    from byav_core.synthetic.world import Plan

    names, (motion, background) = list(LOOKS)[:people], PLAYS[people]
    return Plan(
        seed=people,
        people=tuple(Identity(*LOOKS[name]) for name in names),
        outfits=tuple(Outfit(SHIRTS[name], "none", "white") for name in names),
        places=PLACES[people],
        depth=tuple(range(people)),
        motion=motion,
        background=background,
        mode="silent",
        voices=("silence",) * people,
        audio_to_character=torch.eye(people),
    )


def drawings() -> dict[str, np.ndarray]:
    """Drawn portraits of the four, Anna and Ben together, and where each of the two is, (H W 3) or (H W) in 0..255."""
    import torch

    from byav_core.synthetic import WorldSpec
    from byav_core.synthetic.chance import chance
    from byav_core.synthetic.identity import Identity
    from byav_core.synthetic.world import draw_pictures, draw_portrait

    width, height = FIRST_FRAME
    spec = WorldSpec(split="test", width=width, height=height, frames=1)
    shown = draw_pictures(play(2), torch.zeros(2, 1), spec)
    drawn = {name: draw_portrait(chance("example", name), Identity(*LOOKS[name]), PORTRAIT) for name in LOOKS}
    drawn |= {"together": shown.frames[0]}
    found = {f"{name}_mask": (mask[0] > 0.5).float() for name, mask in zip(("anna", "ben"), shown.masks, strict=True)}
    return {name: in_bytes(picture.movedim(0, -1)) for name, picture in drawn.items()} | {
        name: in_bytes(mask) for name, mask in found.items()
    }


def in_bytes(picture) -> np.ndarray:
    return (picture.clamp(0, 1) * 255).round().byte().numpy()


def can_speak() -> bool:
    from byav_core.synthetic.espeak import Espeak

    try:
        Espeak()
    except (FileNotFoundError, RuntimeError):
        return False
    return True


def speech(name: str) -> tuple[np.ndarray, int]:
    """What one of the four says: samples (-1..1, mono) and their rate. Needs eSpeak NG."""
    said = spoken(VOICES[name], VOICES[name].text)
    return said.waveform.numpy(), said.sample_rate


def spoken(voice: Voice, text: str) -> "Audio":
    from byav_core.synthetic.espeak import Espeak

    return Espeak().speak(text, voice.language, voice.pitch, voice.words)


def write_examples(folder: str | Path) -> list[Path]:
    """Writes what the workflows load, drawn people and their lines, into the folder and returns the paths."""
    from PIL import Image

    from byav_core.sound import at_level

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images = drawings()
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    for name, voice in VOICES.items():
        line = at_level(spoken(voice, voice.line), LOUDNESS)
        write_wave(folder / f"{name}.wav", line.waveform.numpy(), line.sample_rate)
    return [folder / f"{name}.png" for name in images] + [folder / f"{name}.wav" for name in VOICES]


def write_wave(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_examples(sys.argv[1])
