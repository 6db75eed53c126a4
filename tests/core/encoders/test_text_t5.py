import warnings
from dataclasses import replace

import pytest
import torch

from byav_core.config import tiny
from byav_core.encoders.text_t5 import load_text, small_text
from byav_core.protocols import TextEncoder

CONFIG = replace(tiny().text, vocabulary="bytes", words=(), vocab_size=384)
LENGTH = 33
WORDS = tiny().text


@pytest.fixture(scope="module")
def text():
    return small_text(CONFIG, LENGTH)


@pytest.fixture
def folder(tmp_path):
    """A model folder in diffusers' layout, with other weights than the built-in ones."""
    encoder = small_text(CONFIG, LENGTH, seed=5)
    encoder.module.save_pretrained(tmp_path / "text_encoder")
    encoder.tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def test_it_is_a_text_encoder_of_fixed_length(text):
    assert isinstance(text, TextEncoder)
    for prompt in ("", "two people talk in a park", "ö 漢字 🙂"):
        assert text(prompt).shape == (1, LENGTH, CONFIG.d_model)
        assert torch.isfinite(text(prompt)).all()


def test_other_words_other_tokens(text):
    assert torch.equal(text("a man"), text("a man"))
    assert (text("a man") - text("a dog")).abs().max() > 0.1


def test_padding_is_read_along_as_cogvideox_does(text):
    ids = text.tokenizer("hi", padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(text("hi"), text.module(ids).last_hidden_state)


def test_what_a_long_prompt_loses_is_quoted(text):
    with pytest.warns(UserWarning, match="the prompt has 37 tokens and the model reads 33; not read: 'last'"):
        cut = text("x" * 32 + "last")
    torch.testing.assert_close(cut, text("x" * 32))


def test_a_word_is_a_token_whatever_its_case_and_what_surrounds_it():
    text = small_text(WORDS, 13)
    ids = text.tokenizer("Left blond in BLUE, (right) black in green; crossing, park.").input_ids
    assert len(ids) == 11 and len(set(ids)) == 10
    assert (
        text.tokenizer.decode(ids, skip_special_tokens=True) == "left blond in blue right black in green crossing park"
    )


def test_four_people_fit_into_the_tiny_models_text_and_no_word_is_lost():
    text = small_text(WORDS, tiny().transformer.max_text_seq_length)
    prompt = "far left blond in blue, left black in green, right pink in lime, far right grey in white, crossing, park"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text(prompt), text("")


def test_words_that_the_model_does_not_know_are_named():
    text = small_text(WORDS, 13)
    with pytest.warns(UserWarning, match="does not know the words two, astronauts; it knows back, beach, black,"):
        text("two astronauts left, two right")


@pytest.mark.parametrize("wrong", [{"words": ("left",)}, {"words": ()}, {"vocabulary": "bytes"}])
def test_a_vocabulary_of_words_has_room_for_exactly_its_words(wrong):
    with pytest.raises(ValueError, match="vocab_size is 37 but|there are [0-9]+ words"):
        replace(WORDS, **wrong)


def test_building_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    one, other = small_text(CONFIG, LENGTH), small_text(CONFIG, LENGTH, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(one("a"), other("a"))


def test_a_model_folder_loads(folder, text):
    loaded = load_text(folder, CONFIG, LENGTH, torch.bfloat16)
    assert loaded.module.dtype == torch.bfloat16
    assert not torch.equal(loaded("a").float(), text("a"))
    torch.testing.assert_close(loaded("a").float(), small_text(CONFIG, LENGTH, seed=5)("a"), atol=0.1, rtol=0.1)


def test_the_sentencepiece_tokenizer_of_the_release_loads(tmp_path):
    """tokenizer/ of CogVideoX holds a sentencepiece model; one is trained here on a few words."""
    import sentencepiece

    words = tmp_path / "words.txt"
    words.write_text("two people talk in a park\nthe man speaks and the woman listens\n" * 20)
    (tmp_path / "tokenizer").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(tmp_path / "tokenizer" / "spiece"), vocab_size=26, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>"}'
    )
    (tmp_path / "tokenizer" / "special_tokens_map.json").write_text('{"eos_token": "</s>", "pad_token": "<pad>"}')
    small_text(CONFIG, LENGTH).module.save_pretrained(tmp_path / "text_encoder")
    text = load_text(tmp_path, CONFIG, LENGTH)
    pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "tokenizer" / "spiece.model")).encode("the man")
    ids = text.tokenizer("the man", padding="max_length", max_length=20).input_ids
    assert ids == [*pieces, 1] + [0] * (19 - len(pieces))
    assert text("the man").shape == (1, LENGTH, CONFIG.d_model)


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_a_missing_folder_is_named(folder, part):
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"no {part}/.* in {folder}; copy {part}/ of the CogVideoX model"):
        load_text(folder, CONFIG, LENGTH)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        load_text(tmp_path / "nowhere", CONFIG, LENGTH)


def test_weights_cut_short_are_refused(folder):
    weights = folder / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:9000])
    with pytest.raises(ValueError, match="text_encoder cannot be read as weights"):
        load_text(folder, CONFIG, LENGTH)


def test_the_text_encoder_of_another_model_is_refused(folder):
    with pytest.raises(ValueError, match="has 96 channels but the model expects 4096"):
        load_text(folder, replace(CONFIG, d_model=4096), LENGTH)
