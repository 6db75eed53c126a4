"""The encoders in the box: text, face and speech, trained in the drawn world before the three stages begin."""

from pathlib import Path

from torch import Tensor

from ...checkpoints.tensors import write_safetensors
from ...config import ModelConfig, Part
from ...encoders.untrained import as_words
from ...synthetic import WorldSpec
from .face import LEARNING as OF_FACES
from .face import learn_faces
from .learning import Learning, Report
from .speech import LEARNING as OF_SPEECH
from .speech import learn_speech
from .text import LEARNING as OF_TEXT
from .text import learn_text

TRAINED = "drawn world"
LEARNINGS: dict[str, Learning] = {"text": OF_TEXT, "face": OF_FACES, "speech": OF_SPEECH}


def train_companions(
    config: ModelConfig,
    output: str | Path,
    *,
    voices: str | None = None,
    learnings: dict[str, Learning] = LEARNINGS,
    report: Report = lambda line: None,
) -> dict[str, dict[str, float]]:
    """Trains those named in `learnings` from nothing and writes `tiny_text`, `tiny_face` and `tiny_speech.safetensors`.

    voices: a folder of real speech. Returns what was measured on people, voices and prompts not trained on.
    """
    scores, spec = {}, WorldSpec(frames=config.transformer.sample_frames, fps=config.fps, voices=voices)
    for name, learning in learnings.items():
        report(f"the {name} encoder")
        state, scores[name] = _LEARN[name](config, spec, learning, report)
        part: Part = getattr(config, name)
        half = {key: tensor.half() for key, tensor in state.items()}
        metadata = {"config": as_words(part), "trained": TRAINED}
        write_safetensors(half, Path(output) / f"tiny_{name}.safetensors", metadata)
    return scores


def _text(
    config: ModelConfig, spec: WorldSpec, learning: Learning, report: Report
) -> tuple[dict[str, Tensor], dict[str, float]]:
    text, scores = learn_text(config.text, config.transformer.max_text_seq_length, learning, report)
    return text.module.state_dict(), scores


def _face(
    config: ModelConfig, spec: WorldSpec, learning: Learning, report: Report
) -> tuple[dict[str, Tensor], dict[str, float]]:
    networks, scores = learn_faces(config.face, learning, report)
    return networks.state_dict(), scores


def _speech(
    config: ModelConfig, spec: WorldSpec, learning: Learning, report: Report
) -> tuple[dict[str, Tensor], dict[str, float]]:
    return learn_speech(config.speech, spec, learning, report)


_LEARN = {"text": _text, "face": _face, "speech": _speech}
