"""Which clips a training has, and when what was encoded of them is out of date."""

import os
from dataclasses import replace

import pytest

from byav_core.clip import entry_of, save_sample, write_manifest
from byav_core.config import tiny
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.network import Network
from byav_core.synthetic.to_disk import MANIFEST
from byav_core.training.config import Data, TrainingConfig
from byav_core.training.dataset import Folder
from byav_core.training.start import examples_of, source_of


@pytest.mark.parametrize(
    "people, counts",
    [((1, 2), {1: 5, 2: 5}), ((3, 1, 3, 2, 3), {1: 2, 2: 2, 3: 6}), ((4,), {4: 10})],
)
def test_a_number_of_people_named_more_often_has_more_of_the_clips(people, counts):
    source = source_of(TrainingConfig(Data(drawn=10, people=people), "out"), tiny())
    assert dict(source.counts) == counts and list(source.counts) == sorted(counts)


@pytest.fixture
def clips(squares, tmp_path):
    """A folder of two."""
    samples, folder = [squares.draw(seed, 2) for seed in range(2)], tmp_path / "clips"
    folder.mkdir()
    for sample in samples:
        save_sample(sample, folder)
    write_manifest([entry_of(sample, "train") for sample in samples], folder / MANIFEST)
    return folder


@pytest.fixture
def encoded(clips, encoders, tmp_path):
    """Asks whether what was encoded of the clips at first is still right; keyword arguments change the training."""

    def ask(encoders, folder=clips, **changes):
        config = TrainingConfig(Data(folder=str(folder)), str(tmp_path / "out"), **changes)
        return examples_of(config, encoders, Folder(folder))

    ask(encoders)
    return ask


def another_sample(clips, encoders):
    file = next(clips.glob("*.safetensors"))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    return encoders


def another_manifest(clips, encoders):
    path = clips / MANIFEST
    before = path.stat()
    path.write_text(path.read_text("utf-8").replace("2 squares", "4 squares"), "utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size and time
    return encoders


def other_weights(clips, encoders):
    speech = load_speech_encoder("tiny", encoders.models.config.speech)
    next(speech.modules[0].parameters()).data[0] += 1
    return replace(encoders, speech=speech)


def another_window(clips, encoders):
    config = encoders.models.config
    projector = replace(config.speech_projector, window=config.speech_projector.window + 2)
    return replace(encoders, models=replace(encoders.models, config=replace(config, speech_projector=projector)))


def another_rasterizer(clips, encoders):
    config = encoders.models.config
    router = replace(config.router, rasterize="released")
    return replace(encoders, models=replace(encoders.models, config=replace(config, router=router)))


def other_lips(clips, encoders):
    return replace(encoders, lips=1.0)


@pytest.mark.parametrize(
    "change", [another_sample, another_manifest, other_weights, another_window, another_rasterizer, other_lips]
)
def test_what_was_encoded_is_refused_when_anything_it_depends_on_is_another(change, clips, encoders, encoded):
    with pytest.raises(ValueError, match="encoded for another model or from other samples; remove or rename"):
        encoded(change(clips, encoders))


def test_what_was_encoded_serves_other_weights_to_start_from_and_clips_that_were_moved(clips, encoders, encoded):
    network = Network.seeded(encoders.models.config)
    next(network.parameters()).data += 1
    encoded(replace(encoders, models=replace(encoders.models, network=network)), start="ours.safetensors")
    encoded(encoders, folder=clips.rename(clips.with_name("moved")))
