"""One forward of the network, written plainly (naive.py) against ours: CPU-seconds and peak memory.

    python benchmarks/forward.py [--characters 1 2 4 8] [--threads 1]

Four blocks of width 1024, face attention in every second one, 5x20x30 tokens, 226 text tokens, a batch of one; face
extractor, face attention and router at their real widths. Every number is measured in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks import naive  # noqa: E402
from byav_core.config import ModelConfig, paper  # noqa: E402
from byav_core.model.transformer import BindYourAvatarTransformer, Routing  # noqa: E402
from byav_core.network import Network  # noqa: E402
from byav_core.routing.intra_denoise import IntraDenoiseRouter  # noqa: E402
from byav_core.types import Conditioning, Routed, Scene, TokenGrid  # noqa: E402

GRID = TokenGrid(5, 20, 30)
FRAMES = 17
TEXT_TOKENS = 226
PATCHES = 577  # of a CLIP feature map
MEASURES = ("naive, router", "ours, router", "naive, given", "ours, given", "conditions, once", "conditions, a step")


def config() -> ModelConfig:
    """The paper's model with a backbone of a third of its width and a tenth of its depth, and a third of the audio
    width: at full width the speech projector's 1.2 billion numbers would dominate the plain form and flatter ours."""
    full = paper()
    transformer = replace(
        full.transformer,
        num_attention_heads=16,
        audio_heads=16,
        num_layers=4,
        sample_frames=FRAMES,
        sample_height=2 * GRID.h,
        sample_width=2 * GRID.w,
        audio_dim=256,
    )
    return replace(full, transformer=transformer, speech_projector=replace(full.speech_projector, output_dim=256))


def masks(n: int) -> Tensor:
    return torch.rand(n, GRID.tokens)


def latents() -> dict[str, Tensor]:
    c = config().transformer
    return {
        "hidden_states": torch.randn(1, GRID.t, c.in_channels, 2 * GRID.h, 2 * GRID.w),
        "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, c.text_embed_dim),
        "timestep": torch.tensor([499]),
    }


def faces(n: int) -> tuple[Tensor, list[Tensor]]:
    c = config().face_extractor
    return torch.randn(n, c.identity_dim), [torch.randn(n, PATCHES, c.feature_dim) for _ in range(c.scales)]


def sound(n: int) -> Tensor:
    c = config().speech_projector
    return torch.randn(n, FRAMES, c.window, c.layers, c.channels)


def conditioning(n: int) -> Conditioning:
    c = config()
    return Conditioning(
        text=torch.randn(1, TEXT_TOKENS, c.text.d_model),
        characters=torch.randn(1, n, c.face_extractor.queries, c.face_extractor.output_dim),
        speech=torch.randn(1, n, GRID.t, c.speech_projector.tokens, c.speech_projector.output_dim),
        audio_to_character=torch.eye(n)[None],
    )


def naive_forward(n: int, given: Tensor | None) -> Callable:
    network, inputs, (identity, maps), heard = Network(config()), latents(), faces(n), sound(n)
    return lambda: naive.forward(network, *inputs.values(), identity, maps, heard, torch.eye(n), given)


def our_forward(n: int, given: Tensor | None) -> Callable:
    """A step inside the sampling loop: what serves all steps is there already, and what made it is gone."""
    transformer = BindYourAvatarTransformer(**asdict(config().transformer))
    binding, inputs = transformer.project(conditioning(n)), latents()
    if given is not None:
        return lambda: transformer(**inputs, binding=binding, masks=lambda *_: Routed(given[None]))
    router = IntraDenoiseRouter(config().router, config().transformer.face_layers)
    planned = router.plan(Scene(GRID, tuple(f"character {i}" for i in range(n))))
    return lambda: transformer(**inputs, binding=binding, masks=planned)


def once(n: int) -> Callable:
    """Face tokens, speech tokens, and all their keys and values: once per generation."""
    network, (identity, maps), heard = Network(config()), faces(n), sound(n)

    def run() -> None:
        characters, speech = network.face_extractor(identity, maps)[None], network.speech_projector(heard)[None]
        network.transformer.project(replace(conditioning(n), characters=characters, speech=speech))

    return run


def a_step(n: int) -> Callable:
    """Face and audio cross-attention of all blocks under given masks, without the rest of the blocks."""
    transformer, given = BindYourAvatarTransformer(**asdict(config().transformer)), masks(n)[None]
    binding, v = transformer.project(conditioning(n)), torch.randn(1, GRID.tokens, config().transformer.dim)

    def run() -> None:
        routing = Routing(lambda *_: Routed(given))
        for layer, block in enumerate(transformer.transformer_blocks):
            block.bind(v, transformer.bound(layer, binding, routing))

    return run


def prepared(measure: str, n: int) -> Callable:
    what, how = measure.split(", ")
    if what == "conditions":
        return once(n) if how == "once" else a_step(n)
    return (naive_forward if what == "naive" else our_forward)(n, masks(n) if how == "given" else None)


@torch.no_grad()
def measured(measure: str, n: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    run = prepared(measure, n)
    repeats = 1 if measure.startswith("naive") else 3
    torch.randn(512, 512) @ torch.randn(512, 512)
    start = time.process_time()
    for _ in range(repeats):
        run()
    seconds = (time.process_time() - start) / repeats
    return {"seconds": seconds, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def apart(measure: str, n: int, threads: int) -> dict[str, float]:
    """Measured in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--one", measure, "--characters", str(n)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def table(results: dict[tuple[str, int], dict[str, float]], characters: list[int]) -> str:
    lines = ["| n | masks | naive, s | ours, s | ratio | naive, GB | ours, GB |", "|--:|---|--:|--:|--:|--:|--:|"]
    for how in ("router", "given"):
        for n in characters:
            plain, ours = results[f"naive, {how}", n], results[f"ours, {how}", n]
            ratio = ours["seconds"] / plain["seconds"]
            lines.append(
                f"| {n} | {how} | {plain['seconds']:.1f} | {ours['seconds']:.1f} | **{ratio:.2f}** "
                f"| {plain['gigabytes']:.1f} | {ours['gigabytes']:.1f} |"
            )
    lines += ["", "| n | conditions, once, s | conditions, a step, s | against n = 1 |", "|--:|--:|--:|--:|"]
    first = results["conditions, a step", characters[0]]["seconds"]
    for n in characters:
        whole, step = (results[f"conditions, {how}", n]["seconds"] for how in ("once", "a step"))
        lines.append(f"| {n} | {whole:.1f} | {step:.2f} | **{step / first:.2f}** |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.characters[0], options.threads)))
        return
    results = {}
    for n in options.characters:
        for measure in MEASURES:
            results[measure, n] = apart(measure, n, options.threads)
            print(f"n = {n}, {measure}: {results[measure, n]['seconds']:.2f} s", file=sys.stderr)
    print(table(results, options.characters))


if __name__ == "__main__":
    main()
