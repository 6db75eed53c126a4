"""What cannot work is said in a sentence that names the value and what to do, before the run where possible."""

import struct
import wave

import numpy as np
import pytest


@pytest.fixture
def base(workflow):
    return workflow("two_speakers_first_frame").change("Sampler", steps=1).only("Report")


@pytest.fixture
def refused(client):
    """The sentence shown when a prompt is refused before anything runs."""

    def sentence(prompt: dict) -> str:
        run = client.run(prompt)
        assert run.status == "refused", run
        return run.message

    return sentence


@pytest.fixture
def failed(client):
    """The sentence shown when a node stops the run; an exception of ours, not one from deep inside."""

    def sentence(prompt: dict) -> str:
        run = client.run(prompt)
        assert run.status in ("refused", "error"), run
        return run.message

    return sentence


@pytest.fixture
def recording(server):
    """Writes a wav file where Load Audio finds it. Integers: channels x samples; floats: mono."""

    def write(name: str, samples: np.ndarray, rate: int) -> str:
        path = server.base / "input" / name
        if samples.dtype == np.float32:
            write_float_wav(path, samples, rate)
        else:
            with wave.open(str(path), "wb") as file:
                file.setparams((len(samples), 2, rate, 0, "NONE", ""))
                file.writeframes(samples.T.astype("<i2").tobytes())
        return name

    return write


def write_float_wav(path, samples: np.ndarray, rate: int) -> None:
    """Mono, 32-bit floats: the one form of wav that can hold NaN."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize(("frames", "near"), [(16, "17"), (18, "17"), (50, "49")])
def test_frames_that_are_not_4k_plus_1(frames, near, base, refused):
    sentence = refused(base.change("Scene", frames=frames))
    assert str(frames) in sentence and near in sentence


@pytest.mark.parametrize(("size", "near"), [({"width": 100}, "96"), ({"height": 72}, "64"), ({"height": 75}, "80")])
def test_a_size_that_is_not_a_multiple_of_16(size, near, base, refused):
    sentence = refused(base.change("Scene", **size))
    [(side, value)] = size.items()
    assert side in sentence and str(value) in sentence and near in sentence


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("Anna's voice: Anna\nBen's voice: Zoe", "Zoe"),
        ("a stranger's voice: Anna", "a stranger's voice"),
        ("Anna's voice Anna", "Anna's voice Anna"),
    ],
)
def test_names_in_the_table_that_nobody_has(table, word, base, failed):
    sentence = failed(base.change("Who says what", mode="custom table", table=table))
    assert word in sentence


def test_two_characters_of_one_name(base, failed):
    assert "Anna" in failed(base.change("Character Ben", name="Anna"))


def test_two_voices_of_one_name(base, failed):
    assert "Anna's voice" in failed(base.change("Speech of Ben", name="Anna's voice"))


def test_a_character_without_a_name(base, failed):
    assert "name" in failed(base.change("Character Ben", name="  "))


def test_a_face_box_that_is_none(base, refused):
    assert "12, 30" in refused(base.change("Character Ben", box="12, 30"))


def test_a_mask_for_a_person_who_is_not_there(workflow, failed):
    sentence = failed(workflow("hand_painted_masks").only("Report").change("Mask of Ben", name="Zoe"))
    assert "Zoe" in sentence and "Ben" in sentence


def test_fewer_masks_than_people(workflow, failed):
    prompt = workflow("hand_painted_masks").only("Report")
    sentence = failed(prompt.change("Router", masks=[prompt.id("Mask of Anna"), 0]))
    assert "Ben" in sentence


def test_an_empty_mask_names_its_character(workflow, failed):
    prompt = workflow("hand_painted_masks").only("Report").add("nobody", "SolidMask", value=0.0, width=96, height=64)
    sentence = failed(prompt.change("Mask of Ben", mask=[prompt.id("nobody"), 0]))
    assert "Ben" in sentence and "empty" in sentence


def test_fixed_without_masks(base, failed):
    assert "Character Mask" in failed(base.change("Router", router="fixed"))


def test_pre_without_a_first_frame(workflow, failed):
    assert "first frame" in failed(workflow("two_speakers").only("Report").change("Router", router="pre"))


@pytest.mark.parametrize("router", ["pre", "post"])
def test_a_router_that_must_recognise_people_without_a_face_encoder(router, base, failed):
    assert "face encoder" in failed(base.change("Router", router=router, face_encoder=None)).lower()


def test_post_without_a_prompt(base, failed):
    assert "prompt" in failed(base.change("Router", router="post", prompt=None))


def test_audio_without_a_sample(base, failed):
    prompt = base.add("nothing", "EmptyAudio", duration=0.0, sample_rate=44100, channels=2)
    sentence = failed(prompt.change("Speech of Ben", audio=[prompt.id("nothing"), 0]))
    assert "Ben's voice" in sentence and "empty" in sentence


def test_audio_with_numbers_that_are_none(base, failed, recording):
    broken = recording("nan.wav", np.array([0.1, np.nan, 0.2] * 4000, np.float32), 16000)
    sentence = failed(base.change("Recording of Ben", audio=broken))
    assert "Ben's voice" in sentence and "NaN" in sentence


def test_a_model_file_that_was_cut_off(base, failed, server):
    (server.base / "models" / "byav").mkdir(exist_ok=True)
    (server.base / "models" / "byav" / "cut_off.safetensors").write_bytes(struct.pack("<Q", 5000) + b'{"a":')
    assert "cut_off.safetensors" in failed(base.change("Load Bind-Your-Avatar Model", model="cut_off.safetensors"))


def test_a_model_that_is_not_there(base, refused):
    sentence = refused(base.change("Load Bind-Your-Avatar Model", model="elsewhere.safetensors"))
    assert "elsewhere.safetensors" in sentence and "byav" in sentence


def test_strength_for_a_person_who_is_not_there(base, failed):
    assert "Zoe" in failed(base.change("Sampler", strength="Zoe: 0.5"))


def test_any_picture_is_taken_whole_for_a_portrait_by_the_built_in_model(base, client):
    prompt = base.add("wall", "EmptyImage", width=120, height=90, batch_size=1, color=8421504)
    run = client.run(prompt.change("Character Ben", image=[prompt.id("wall"), 0]))
    assert run.status == "success", run


def test_words_that_the_built_in_model_does_not_know_are_named(base, client):
    prompt = base.change("Prompt", prompt="left blond in teal, right black in yellow, juggling, park")
    run = client.run(prompt)
    assert run.status == "success", run
    assert "juggling" in "".join(run.outputs[prompt.id("Prompt")]["text"])


def test_recordings_of_any_rate_length_and_channels_go_together(base, client, recording):
    rng = np.random.default_rng(3)
    low = recording("low.wav", (rng.standard_normal((1, 2400)) * 3000).astype(np.int16), 8000)
    stereo = recording("stereo.wav", (rng.standard_normal((2, 96000)) * 3000).astype(np.int16), 48000)
    run = client.run(base.change("Recording of Anna", audio=low).change("Recording of Ben", audio=stereo))
    assert run.status == "success", run


def test_silence_is_a_voice_like_any_other(base, client):
    prompt = base.add("quiet", "EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
    run = client.run(prompt.change("Speech of Ben", audio=[prompt.id("quiet"), 0]))
    assert run.status == "success", run
