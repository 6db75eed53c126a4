"""Real faces and real speech, made when they are needed from packages that are installed anyway.

Faces: NASA's portrait of an astronaut in scikit-image, and a group photograph in insightface. Speech: eSpeak NG, the
program if it is there, else its library out of the package espeakng-loader. `python tests/real_inputs.py FOLDER`
writes all of it: anna, ben and carla as .png and .wav, together.png with Anna on the left and Ben on the right, and
anna_mask.png and ben_mask.png, painted over that one.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

TOGETHER: Box = (192, 90, 702, 430)  # a part of the group photograph that shows two people
PORTRAITS: dict[str, Box] = {"anna": (222, 85, 422, 325), "ben": (412, 195, 632, 455)}
BODIES: dict[str, Box] = {"anna": (30, 0, 235, 340), "ben": (245, 115, 470, 340)}  # in `together`


@dataclass(frozen=True)
class Voice:
    """An eSpeak NG voice. pitch: 0..99. words: per minute."""

    language: str
    pitch: int
    words: int
    text: str


VOICES = {
    "anna": Voice("en-us+f3", 70, 170, "Did you see the game last night? I could not believe the end of it."),
    "ben": Voice("en-gb", 25, 150, "No, I was at work until nine. Please do not tell me who won."),
    "carla": Voice("en-gb-scotland", 50, 185, "Well, you two, shall we watch it together then?"),
}


def group_photograph() -> np.ndarray:
    """Six people at a table, (H W 3) in 0..255."""
    from insightface.data import get_image

    return np.ascontiguousarray(get_image("t1")[:, :, ::-1])


def pictures() -> dict[str, np.ndarray]:
    """Portraits of Anna, Ben and Carla, and Anna and Ben together, (H W 3) in 0..255."""
    from skimage.data import astronaut

    group = group_photograph()
    boxes = PORTRAITS | {"together": TOGETHER}
    return {name: cut(group, box) for name, box in boxes.items()} | {"carla": astronaut()}


def masks() -> dict[str, np.ndarray]:
    """Who is where in the picture `together`, as one would paint it: (H W) in 0..255."""
    left, top, right, bottom = TOGETHER
    return {name: blob(box, bottom - top, right - left) for name, box in BODIES.items()}


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return picture[top:bottom, left:right].copy()


def blob(box: Box, height: int, width: int) -> np.ndarray:
    """A white egg that fills the box, on black."""
    left, top, right, bottom = box
    y, x = np.mgrid[:height, :width] + 0.5
    radius = ((2 * x - left - right) / (right - left)) ** 2 + ((2 * y - top - bottom) / (bottom - top)) ** 2
    return ((radius <= 1) * 255).astype(np.uint8)


def can_speak() -> bool:
    try:
        import espeakng_loader  # noqa: F401
    except ImportError:
        return shutil.which("espeak-ng") is not None
    return True


def speech(name: str) -> tuple[np.ndarray, int]:
    """What Anna, Ben or Carla says: samples (-1..1, mono) and their rate. Raises RuntimeError without eSpeak NG."""
    voice = VOICES[name]
    if shutil.which("espeak-ng"):
        return by_program(voice)
    try:
        import espeakng_loader
    except ImportError as error:
        raise RuntimeError("there is no eSpeak NG; install espeak-ng, or pip install espeakng-loader") from error
    return by_library(voice, espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


def by_program(voice: Voice) -> tuple[np.ndarray, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "speech.wav")
        manner = ["-v", voice.language, "-p", str(voice.pitch), "-s", str(voice.words)]
        subprocess.run(["espeak-ng", *manner, "-w", path, voice.text], check=True)
        with wave.open(path) as file:
            return from_16_bit(file.readframes(file.getnframes())), file.getframerate()


def by_library(voice: Voice, library: str, data: str) -> tuple[np.ndarray, int]:
    """Through eSpeak NG's C interface (speak_lib.h), synchronously, the samples handed to a callback."""
    retrieve, rate_parameter, pitch_parameter, utf8 = 2, 1, 3, 1
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(retrieve, 0, data.encode(), 0)
    if rate <= 0:
        raise RuntimeError(f"eSpeak NG did not start with its data in {data}")
    heard: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def listen(samples, count, events):
        if samples and count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(listen)
    espeak.espeak_SetVoiceByName(voice.language.encode())
    espeak.espeak_SetParameter(rate_parameter, voice.words, 0)
    espeak.espeak_SetParameter(pitch_parameter, voice.pitch, 0)
    text = voice.text.encode() + b"\0"
    espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, utf8, None, None)
    espeak.espeak_Synchronize()
    espeak.espeak_Terminate()
    return from_16_bit(b"".join(heard)), rate


def from_16_bit(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768


def write_examples(folder: str | Path) -> list[Path]:
    """Writes pictures, masks and voices into the folder and returns their paths."""
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images = pictures() | {f"{name}_mask": mask for name, mask in masks().items()}
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    for name in VOICES:
        write_wave(folder / f"{name}.wav", *speech(name))
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
