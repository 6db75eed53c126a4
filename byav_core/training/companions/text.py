"""The text encoder learns the scene behind a prompt: each word, what stands where."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...config import TextConfig
from ...encoders.text_t5 import T5Text, small_text, words_of
from ...encoders.untrained import seeded_weights
from ...synthetic import WorldSpec
from ...synthetic.background import PLACES as BACKGROUNDS
from ...synthetic.chance import Split
from ...synthetic.identity import HAIRS, SHIRTS
from ...synthetic.motion import KINDS, PLACES
from ...synthetic.world import plan_scene
from .learning import Learning, Report, learn

NOTHING = -100  # what cross entropy leaves out
LEARNING = Learning(steps=600, rows=48, examples=4000, test=500)
STANDING = tuple(sorted({place.words for row in PLACES.values() for place in row}))
QUESTIONS: dict[str, tuple[str, ...]] = {
    "place": STANDING,
    "hair": tuple(HAIRS),
    "shirt": tuple(SHIRTS),
    "motion": tuple(KINDS),
    "background": tuple(BACKGROUNDS),
    "people": tuple(map(str, PLACES)),
}
UNKNOWN = 2  # the number of the token; words come after it
LEFT_OUT = 0.1  # of the words; what is unknown says nothing


class TextLearner(nn.Module):
    """Asks every word: of whom it speaks (place, hair, shirt), and of the scene what happens, where, and how many
    there are."""

    def __init__(self, config: TextConfig, length: int, seed: int):
        super().__init__()
        self.text = small_text(config, length, seed)
        self.module = self.text.module
        with seeded_weights(seed):
            self.answers = nn.ModuleDict({name: nn.Linear(config.d_model, len(of)) for name, of in QUESTIONS.items()})
            self.word = nn.Linear(config.d_model, config.vocab_size)

    def forward(self, ids: Int[Tensor, "b l"]) -> dict[str, Float[Tensor, "b l answers"]]:
        tokens = self.module(ids).last_hidden_state
        return {"word": self.word(tokens)} | {name: answer(tokens) for name, answer in self.answers.items()}


def prompts(split: Split, count: int, people: tuple[int, ...]) -> list[str]:
    spec = WorldSpec(split=split, people=people)
    return [plan_scene(seed, spec).prompt for seed in range(count)]


def truth(prompt: str, length: int) -> dict[str, Int[Tensor, " l"]]:
    """For every word of a prompt of the drawn world the answers; those of the scene for all of the tokens."""
    *people, motion, background = [words_of(part) for part in prompt.split(",")]
    of_scene = {"motion": motion[0], "background": background[0], "people": str(len(people))}
    asked = {name: torch.full((length,), NOTHING) for name in QUESTIONS}
    for name, answer in of_scene.items():
        asked[name][:] = QUESTIONS[name].index(answer)
    at = 0
    for words in people:
        of_person = {"place": " ".join(words[:-3]), "hair": words[-3], "shirt": words[-1]}
        for name, answer in of_person.items():
            asked[name][at : at + len(words)] = QUESTIONS[name].index(answer)
        at += len(words)
    return asked


def learn_text(
    config: TextConfig, length: int, learning: Learning = LEARNING, report: Report = lambda line: None
) -> tuple[T5Text, dict[str, float]]:
    """The trained encoder and, for prompts not trained on, the share of right answers to each question."""
    learner = TextLearner(config, length, learning.seed)
    ids, asked = _read(learner.text, prompts("train", learning.examples, (1, 2, 2, 2, 3, 3, 4, 5, 6)))
    noise = torch.Generator().manual_seed(learning.seed)

    def loss(rows: Tensor) -> Tensor:
        left_out = (torch.rand(rows.shape[0], length, generator=noise) < LEFT_OUT) & (ids[rows] > UNKNOWN)
        answers = learner(ids[rows].masked_fill(left_out, UNKNOWN))
        of_words = cross_entropy(answers["word"].flatten(0, 1), ids[rows].masked_fill(left_out, NOTHING).flatten())
        return of_words + sum(
            cross_entropy(answers[name].flatten(0, 1), asked[name][rows].flatten()) for name in QUESTIONS
        )

    learn([learner], loss, learning, report)
    return learner.text, _score(learner, *_read(learner.text, prompts("test", learning.test, (1, 2, 2, 2, 3, 3, 4))))


def _read(text: T5Text, said: list[str]) -> tuple[Int[Tensor, "b l"], dict[str, Int[Tensor, "b l"]]]:
    """Token numbers and answers; what is too long is cut."""
    length = text.max_length
    ids = text.tokenizer(said, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    asked = [truth(prompt, 2 * length) for prompt in said]
    return ids, {name: torch.stack([one[name][:length] for one in asked]) for name in QUESTIONS}


@torch.no_grad()
def _score(learner: TextLearner, ids: Tensor, asked: dict[str, Tensor]) -> dict[str, float]:
    answers = learner(ids)
    scores = {}
    for name, right in asked.items():
        counted = right != NOTHING
        scores[name] = float((answers[name].argmax(-1) == right)[counted].float().mean())
    return scores
