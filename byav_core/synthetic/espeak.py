"""Speech by eSpeak NG's library, the system's or that of the package espeakng-loader, through its C interface."""

import ctypes
import ctypes.util
from pathlib import Path

import numpy as np
import torch

from ..types import Audio

RETRIEVE, RATE, PITCH, UTF8, STAY = 2, 1, 3, 1, 0x8000  # of speak_lib.h; STAY: do not end the process
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """Speaks one sentence after another. Raises FileNotFoundError where there is no eSpeak NG."""

    def __init__(self) -> None:
        path, data = _find()
        if data and not Path(data.decode(), "phontab").is_file():
            raise FileNotFoundError(
                f"there are no voices of eSpeak NG in {data.decode()}; install espeakng-loader anew"
            )
        self.library = ctypes.CDLL(path)
        self.sample_rate = self.library.espeak_Initialize(RETRIEVE, 0, data, STAY)
        if self.sample_rate <= 0:
            raise OSError(f"eSpeak NG did not start ({path}); install it anew")
        self.heard: list[bytes] = []
        self.listener = CALLBACK(self._listen)  # kept: the library holds no reference of Python's
        self.library.espeak_SetSynthCallback(self.listener)

    def speak(self, text: str, language: str, pitch: int, words_per_minute: int) -> Audio:
        """language: the name of a voice, with a variant as in en-us+f3. pitch: 0..99."""
        self.heard.clear()
        if self.library.espeak_SetVoiceByName(language.encode()):
            raise ValueError(f"eSpeak NG has no voice {language!r}; `espeak-ng --voices` lists those it has")
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        self.library.espeak_SetParameter(RATE, words_per_minute, 0)
        words = text.encode() + b"\0"
        self.library.espeak_Synth(words, ctypes.c_size_t(len(words)), 0, 1, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        if not self.heard:
            raise ValueError(f"eSpeak NG said nothing of {text!r} as {language}; install it anew")
        samples = np.frombuffer(b"".join(self.heard), "<i2").astype(np.float32) / 32768
        return Audio(torch.from_numpy(samples), self.sample_rate)

    def _listen(self, samples, count: int, events) -> int:
        if samples and count > 0:
            self.heard.append(ctypes.string_at(samples, 2 * count))
        return 0


def _find() -> tuple[str, bytes | None]:
    """The library, and its data unless it knows where they are."""
    try:
        import espeakng_loader
    except ImportError:
        if path := ctypes.util.find_library("espeak-ng"):
            return path, None
        raise FileNotFoundError("there is no eSpeak NG; install espeak-ng, or pip install espeakng-loader") from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
