"""The encoders in the box: they learn, and what they learnt is found again by those who load them."""

import json
from dataclasses import replace

import pytest
import torch

from byav_core.checkpoints.tensors import read_metadata, write_safetensors
from byav_core.config import WORDS, tiny
from byav_core.encoders import untrained
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.speech_wav2vec import load_speech_encoder, normalised
from byav_core.encoders.text_t5 import load_text, text_in_the_box, words_of
from byav_core.encoders.untrained import as_words
from byav_core.encoders.video_vae import load_video_vae, video_in_the_box
from byav_core.synthetic import WorldSpec, draw_scene
from byav_core.synthetic.prompt import vocabulary
from byav_core.training.autoencoder import AutoencoderTraining
from byav_core.training.companions import LEARNINGS, train_companions
from byav_core.training.companions.face import Portraits, learn_faces
from byav_core.training.companions.learning import Learning, learn
from byav_core.training.companions.speech import Sounds, SpeechLearner, learn_speech
from byav_core.training.companions.text import NOTHING, QUESTIONS, learn_text, truth

CONFIG = replace(tiny(), fps=12.5)
SPEC = WorldSpec(frames=9)
BRIEF = Learning(steps=16, rows=12, examples=40, test=20)
BRIEF_VIDEO = AutoencoderTraining(fitted=3, scenes=3, test=2, frames=5, batch=2, steps=2, workers=0)


class Losses(list):
    """What the reports of a training say it lost."""

    def __call__(self, line: str) -> None:
        if "loss" in line:
            self.append(float(line.rpartition(" ")[2]))


def test_the_words_are_those_of_the_drawn_world():
    assert vocabulary() == WORDS == tiny().text.words


def test_learning_finds_the_least_value():
    weight = torch.nn.Linear(3, 1, bias=False)
    losses = learn([weight], lambda rows: (weight.weight - 0.4).square().sum() + 0 * rows.sum(), BRIEF, print)
    assert len(losses) == BRIEF.steps and losses[-1] < losses[0]


def test_every_word_is_asked_of_the_person_it_speaks_of():
    prompt = "far left blond in blue, right black in green, crossing, park"
    asked = truth(prompt, 13)
    hairs = [None if i == NOTHING else QUESTIONS["hair"][i] for i in asked["hair"].tolist()]
    assert hairs == ["blond"] * 5 + ["black"] * 4 + [None] * 4
    assert QUESTIONS["place"][asked["place"][0]] == "far left"
    assert {QUESTIONS["people"][i] for i in asked["people"].tolist()} == {"2"}
    assert len(words_of(prompt)) == 11


def test_the_losses_of_all_three_fall():
    for train in (
        lambda report: learn_text(CONFIG.text, 24, BRIEF, report),
        lambda report: learn_faces(CONFIG.face, BRIEF, report),
        lambda report: learn_speech(CONFIG.speech, SPEC, BRIEF, report),
    ):
        losses = Losses()
        train(losses)
        assert losses[-1] < 0.9 * losses[0]


def test_training_again_gives_the_same_weights():
    brief = replace(BRIEF, steps=3)
    (one, _), (other, _) = (learn_text(CONFIG.text, 24, brief) for _ in range(2))
    assert torch.equal(one("left blond in blue, still, park"), other("left blond in blue, still, park"))


def test_what_was_trained_is_what_is_loaded(tmp_path, monkeypatch):
    config = replace(CONFIG, transformer=replace(CONFIG.transformer, sample_frames=9))
    box = tmp_path / "box"
    learnings = dict.fromkeys(LEARNINGS, replace(BRIEF, steps=2)) | {"video": BRIEF_VIDEO}
    scores = train_companions(config, box, learnings=learnings)
    files = sorted(box.iterdir())
    assert [path.stem for path in files] == ["tiny_face", "tiny_speech", "tiny_text", "tiny_video"]
    assert json.loads(read_metadata(files[2])["scores"]) == scores["text"]
    monkeypatch.setattr(untrained, "IN_THE_BOX", tmp_path / "none")
    bare = load_speech_encoder("tiny", CONFIG.speech), load_face_encoder("tiny", CONFIG.face)
    assert [encoder.trained for encoder in bare] == ["untrained"] * 2
    before = text_in_the_box(CONFIG.text, 24)("left"), video_in_the_box(CONFIG.video).module.analysis.weight
    named = load_text(box, CONFIG.text, 24)("left"), load_video_vae(box, CONFIG.video).module.analysis.weight
    assert not any(torch.equal(one, other) for one, other in zip(before, named, strict=True))
    for name in (box, "tiny"):
        assert load_speech_encoder(name, CONFIG.speech).trained == "drawn world"
        assert load_face_encoder(name, CONFIG.face).trained == "drawn world"
        monkeypatch.setattr(untrained, "IN_THE_BOX", box)
    assert torch.equal(text_in_the_box(CONFIG.text, 24)("left"), named[0])
    assert torch.equal(video_in_the_box(CONFIG.video).module.analysis.weight, named[1])


@pytest.mark.parametrize("load, part", [(load_face_encoder, "face"), (load_speech_encoder, "speech")])
def test_encoders_of_another_model_are_refused_by_name(load, part, tmp_path):
    metadata = {"config": as_words(CONFIG.text), "trained": "drawn world"}
    write_safetensors({"x": torch.zeros(1)}, tmp_path / f"tiny_{part}.safetensors", metadata)
    with pytest.raises(ValueError, match=f"tiny_{part}.safetensors was made for a model of other extents"):
        load(tmp_path, getattr(CONFIG, part))


def test_faces_are_learnt_from_what_the_pipeline_shows():
    picture = draw_scene(3, replace(SPEC, people=(1,))).references[0]
    encoder = load_face_encoder("tiny", CONFIG.face)
    features = encoder(picture)
    portraits = Portraits("train", 2, CONFIG.face, draw=lambda random, who, size: picture)
    with torch.no_grad():
        embedding, hidden = encoder.tower(portraits.tower[0, :1])
        recognition = encoder.recogniser(portraits.recogniser[0, :1])
    torch.testing.assert_close(features.identity[: CONFIG.face.recognition_dim], recognition[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.hidden[-1], hidden[-1][0], atol=1e-4, rtol=1e-4)


def test_many_sounds_at_once_are_heard_like_one():
    sounds, learner = Sounds(3, SPEC), SpeechLearner(CONFIG.speech, 0)
    with torch.no_grad():
        together = learner.hear.rows(sounds.waveforms, SPEC.frames)
        alone = learner.hear(sounds.waveforms[1], SPEC.frames)
    torch.testing.assert_close(together[1], alone, atol=1e-4, rtol=1e-4)
    assert normalised(sounds.waveforms[0]).std() == pytest.approx(1, abs=0.05) or not sounds.waveforms[0].any()
