"""The prompt: T5's encoder and its tokenizer, as CogVideoX uses them."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import TextConfig
from ..weights_folder import part_of, reading, refuse_gaps
from .untrained import seeded_weights, weights_in_the_box


class T5Text:
    """Prompt -> text tokens, always `max_length` of them: padded, and padding is attended to, as in CogVideoX.

    A prompt too long is cut with a warning that quotes the first words lost; words that are none of the vocabulary's
    are named in another.
    """

    def __init__(self, config: TextConfig, module: nn.Module, tokenizer: Any, max_length: int):
        if module.config.d_model != config.d_model:
            raise ValueError(
                f"the text encoder has {module.config.d_model} channels but the model expects {config.d_model}; "
                "use the text encoder that belongs to the model"
            )
        self.config, self.module, self.tokenizer, self.max_length = config, module.eval(), tokenizer, max_length

    @torch.no_grad()
    def __call__(self, prompt: str) -> Float[Tensor, "1 l d"]:
        ids = self.tokenizer(
            prompt, padding="max_length", max_length=self.max_length, truncation=True, return_tensors="pt"
        ).input_ids
        self._warn_if_cut(prompt)
        self._warn_if_unknown(prompt)
        return self.module(ids.to(self.module.device))[0]

    def _warn_if_cut(self, prompt: str) -> None:
        ids = self.tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) <= self.max_length:
            return
        lost = self.tokenizer.decode(ids[self.max_length - 1 :], skip_special_tokens=True)
        warnings.warn(
            f"the prompt has {len(ids)} tokens and the model reads {self.max_length}; not read: {lost[:80]!r}",
            stacklevel=4,
        )

    def _warn_if_unknown(self, prompt: str) -> None:
        if self.config.vocabulary != "words":
            return
        unknown = [word for word in words_of(prompt) if word not in self.config.words]
        if unknown:
            warnings.warn(
                f"the model does not know the words {', '.join(dict.fromkeys(unknown))}; it knows "
                f"{', '.join(self.config.words)}",
                stacklevel=4,
            )


def words_of(prompt: str) -> list[str]:
    """As the tokenizer of words sees them: lower case, without punctuation."""
    return re.findall(r"[^\W_]+", prompt.lower())


def small_text(config: TextConfig, max_length: int, seed: int = 0) -> T5Text:
    """The real architecture in small over words or bytes: needs no files, weights untrained."""
    from transformers import T5Config, T5EncoderModel

    with seeded_weights(seed):
        module = T5EncoderModel(T5Config(**_architecture(config)))
    return T5Text(config, module, TOKENIZERS[config.vocabulary](config), max_length)


def text_in_the_box(config: TextConfig, max_length: int, box: str | Path | None = None) -> T5Text:
    """`small_text` with the weights trained in the drawn world, where there are any for this configuration.

    box: another folder of such weights, where they have to be.
    """
    text = small_text(config, max_length)
    if found := weights_in_the_box("tiny_text", config, box):
        text.module.load_state_dict(found[0])
    return text


def _bytes(config: TextConfig) -> Any:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def _words(config: TextConfig) -> Any:
    """A token for each word, numbered after padding, end and unknown, as T5 numbers these."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *config.words))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\W_]+"), "removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )


TOKENIZERS: dict[str, Callable[[TextConfig], Any]] = {"bytes": _bytes, "words": _words}


def load_text(folder: str | Path, config: TextConfig, max_length: int, dtype: torch.dtype = torch.float32) -> T5Text:
    """T5 from `tokenizer/` and `text_encoder/` inside a model folder in diffusers' layout; one over words from
    `tiny_text.safetensors`.

    Raises FileNotFoundError naming what is missing, ValueError when files are damaged or of another model.
    """
    if config.vocabulary == "words":
        text = text_in_the_box(config, max_length, folder)
        text.module.to(dtype)
        return text
    from transformers import AutoTokenizer, T5EncoderModel

    path = part_of(folder, "text_encoder", "the CogVideoX model")
    words = Path(folder) / "tokenizer"
    if not words.is_dir():
        raise FileNotFoundError(f"no tokenizer/ in {folder}; copy tokenizer/ of the CogVideoX model there")
    with reading(words):
        tokenizer = AutoTokenizer.from_pretrained(words, local_files_only=True)
    with reading(path):
        module, report = T5EncoderModel.from_pretrained(
            path, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    refuse_gaps(path, report)
    return T5Text(config, module, tokenizer, max_length)


def _architecture(config: TextConfig) -> dict[str, Any]:
    return dict(
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        vocab_size=config.vocab_size,
        feed_forward_proj="gated-gelu",
    )
