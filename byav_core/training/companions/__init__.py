"""What stays frozen of the tiny model: the encoders of text, faces and speech and the video autoencoder, trained in the
drawn world before the three stages begin."""

import json
from pathlib import Path

from torch import Tensor

from ...checkpoints.tensors import write_safetensors
from ...config import ModelConfig, Part
from ...encoders.untrained import as_words
from ...synthetic import WorldSpec
from ..autoencoder import AutoencoderTraining, learn_video
from .face import LEARNING as OF_FACES
from .face import learn_faces
from .learning import Learning, Report
from .speech import LEARNING as OF_SPEECH
from .speech import learn_speech
from .text import LEARNING as OF_TEXT
from .text import learn_text

TRAINED = "drawn world"
Course = Learning | AutoencoderTraining
LEARNINGS: dict[str, Course] = {
    "text": OF_TEXT,
    "face": OF_FACES,
    "speech": OF_SPEECH,
    "video": AutoencoderTraining(),
}


def train_companions(
    config: ModelConfig,
    output: str | Path,
    *,
    voices: str | None = None,
    learnings: dict[str, Course] = LEARNINGS,
    report: Report = lambda line: None,
) -> dict[str, dict[str, float]]:
    """Trains those named in `learnings` from nothing and writes `tiny_text.safetensors` and so on, each when it is
    finished, in half precision.

    voices: a folder of real speech. Returns, and writes into the files, what was measured on people, voices and prompts
    not trained on.
    """
    extent = {"width": config.video.sample_width, "height": config.video.sample_height}
    spec = WorldSpec(frames=config.transformer.sample_frames, fps=config.fps, voices=voices, **extent)
    scores: dict[str, dict[str, float]] = {}
    Path(output).mkdir(parents=True, exist_ok=True)
    for name, learning in learnings.items():
        report(f"learning: {name}")
        state, scores[name] = _LEARN[name](config, spec, learning, report)
        part: Part = getattr(config, name)
        half = {key: tensor.half().contiguous() for key, tensor in state.items()}
        metadata = {"config": as_words(part), "trained": TRAINED, "scores": json.dumps(scores[name])}
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


def _video(
    config: ModelConfig, spec: WorldSpec, learning: AutoencoderTraining, report: Report
) -> tuple[dict[str, Tensor], dict[str, float]]:
    module, scores = learn_video(config.video, spec, learning, report)
    return module.state_dict(), scores


_LEARN = {"text": _text, "face": _face, "speech": _speech, "video": _video}
