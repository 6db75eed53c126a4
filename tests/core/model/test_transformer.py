import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from byav_core.config import tiny
from byav_core.model.attention import JointAttention
from byav_core.model.transformer import BindYourAvatarTransformer
from byav_core.types import Conditioning, Routed, TokenGrid

ROOT = Path(__file__).resolve().parents[3]
B, N, M, K, K_SPEECH, L = 2, 3, 2, 8, 6, 7
GRID = TokenGrid(t=2, h=3, w=5)
CONFIG = replace(
    tiny().transformer, num_attention_heads=4, in_channels=24, out_channels=8, num_layers=4, sample_frames=17,
    patch_size=2, rotary_height=4, rotary_width=6, use_learned_positional_embeddings=False,
)  # fmt: skip


def build(**changes) -> BindYourAvatarTransformer:
    torch.manual_seed(0)
    return BindYourAvatarTransformer(**asdict(replace(CONFIG, **changes))).eval()


@pytest.fixture
def model() -> BindYourAvatarTransformer:
    return build()


def told(b: int = B, n: int = N, m: int = M, grid: TokenGrid = GRID) -> Conditioning:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Conditioning(
        text=random(b, L, CONFIG.text_embed_dim),
        characters=random(b, n, K, CONFIG.face_dim),
        speech=random(b, m, grid.t, K_SPEECH, CONFIG.audio_dim),
        audio_to_character=torch.rand(b, m, n, generator=generator),
    )


class Masks:
    """Another mask in every layer; counts how often it is asked."""

    def __init__(self, n: int = N, grid: TokenGrid = GRID):
        self.mask = torch.rand(1, n, grid.tokens, generator=torch.Generator().manual_seed(2))
        self.asked = []

    def __call__(self, layer, q, k):
        self.asked.append(layer)
        return Routed(self.mask / (layer + 1))


def latents(b: int = B, grid: TokenGrid = GRID, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, grid.t, CONFIG.in_channels, 2 * grid.h, 2 * grid.w, generator=generator)


def run(model, conditioning=None, masks=None, x=None, binding=None) -> torch.Tensor:
    conditioning = told() if conditioning is None else conditioning
    x = latents() if x is None else x
    binding = model.project(conditioning) if binding is None else binding
    return model(x, conditioning.text, torch.full((len(x),), 499), binding, masks or Masks())[0]


# What it is made of


@pytest.mark.parametrize(("face_interval", "audio_interval"), [(1, 1), (2, 1), (3, 1), (2, 2), (1, 3)])
def test_any_intervals(face_interval, audio_interval):
    model = build(face_interval=face_interval, audio_interval=audio_interval)
    assert [b.face is not None for b in model.transformer_blocks] == [i % face_interval == 0 for i in range(4)]
    assert [b.audio is not None for b in model.transformer_blocks] == [i % audio_interval == 0 for i in range(4)]
    masks = Masks()
    with torch.no_grad():
        _, routed = model(latents(), told().text, torch.tensor([0, 999]), model.project(told()), masks)
    assert masks.asked == list(range(len(routed))) and len(routed) == model.config.num_layers // face_interval + (
        model.config.num_layers % face_interval > 0
    )


def test_without_masks_and_voices_it_is_cogvideox():
    from diffusers import CogVideoXTransformer3DModel

    for learned in (False, True):
        model = build(
            use_learned_positional_embeddings=learned, sample_height=6, sample_width=10, sample_frames=5,
            rotary_height=3, rotary_width=5, max_text_seq_length=L,
        )  # fmt: skip
        theirs = CogVideoXTransformer3DModel.from_config(
            dict(model.config) | {"use_rotary_positional_embeddings": True, "dropout": 0.0}
        ).eval()
        missing = theirs.load_state_dict(model.state_dict(), strict=False)
        assert not missing.missing_keys
        assert all(".face." in key or ".audio." in key for key in missing.unexpected_keys)
        with torch.no_grad():
            rotary = model.rotary(GRID, torch.device("cpu"))
            expected = theirs(latents(), told().text, torch.full((B,), 499), image_rotary_emb=rotary).sample
            torch.testing.assert_close(run(model, told(n=0, m=0), Masks(n=0)), expected)


def test_its_arguments_are_the_fields_of_the_configuration(model):
    assert {key: model.config[key] for key in asdict(CONFIG)} == asdict(CONFIG)


@pytest.mark.parametrize("grid", [GRID, TokenGrid(3, 4, 6), TokenGrid(1, 7, 2)])
@pytest.mark.parametrize("learned", [False, True])
def test_any_grid(grid, learned):
    model = build(use_learned_positional_embeddings=learned)
    with torch.no_grad():
        out = run(model, told(grid=grid), Masks(grid=grid), latents(grid=grid))
    assert out.shape == (B, grid.t, CONFIG.out_channels, 2 * grid.h, 2 * grid.w) and out.isfinite().all()


def test_too_much_text_for_the_position_table_is_refused():
    with pytest.raises(ValueError, match="7 text tokens were given but the position table holds 6"):
        run(build(use_learned_positional_embeddings=True, max_text_seq_length=6))


def test_conditions_that_do_not_fit_are_refused(model):
    with pytest.raises(ValueError, match="the speech fills 5 latent frames, but the video has 2"):
        run(model, told(grid=TokenGrid(5, 1, 1)))
    with pytest.raises(ValueError, match="for 2 streams and 3 characters, but there are 1 streams and 3 characters"):
        run(model, binding=replace(model.project(told()), audio=model.project_speech(told().speech[:, :1])))


# What binds whom


@pytest.mark.parametrize("inflation", ["complement", "none"])
def test_the_order_of_the_cast_and_of_the_streams_does_not_matter(inflation):
    model, c, masks, moved = build(inflation=inflation), told(), Masks(), Masks()
    cast, voices = torch.tensor([2, 0, 1]), torch.tensor([1, 0])
    moved.mask = moved.mask[:, cast]
    other = replace(
        c,
        characters=c.characters[:, cast],
        speech=c.speech[:, voices],
        audio_to_character=c.audio_to_character[:, voices][:, :, cast],
    )
    with torch.no_grad():
        torch.testing.assert_close(run(model, other, moved), run(model, c, masks), rtol=1e-4, atol=1e-5)


def test_a_stream_that_belongs_to_nobody_is_not_heard(model):
    c = told()
    c.audio_to_character[:, 1] = 0
    louder = replace(c, speech=c.speech + torch.tensor([0.0, 9.0])[:, None, None, None])
    with torch.no_grad():
        assert torch.equal(run(model, c), run(model, louder))


def test_with_empty_masks_faces_do_not_matter(model):
    c, masks = told(), Masks()
    masks.mask = torch.zeros_like(masks.mask)
    with torch.no_grad():
        assert torch.equal(run(model, c, masks), run(model, replace(c, characters=c.characters.flip(1)), masks))
        assert not torch.allclose(run(model, c), run(model, replace(c, characters=c.characters.flip(1))))


def test_faces_and_voices_projected_once_serve_every_step(model):
    c = told()
    with torch.no_grad():
        binding = model.project(c)
        for seed in (4, 5):
            assert torch.equal(
                run(model, c, x=latents(seed=seed), binding=binding), run(model, c, x=latents(seed=seed))
            )


def test_guidance_halves_that_share_faces_equal_separate_ones(model):
    one, two = told(b=1), told(b=1)
    two = replace(two, text=two.text + 1, speech=torch.zeros_like(two.speech))
    with torch.no_grad():
        together = model.project(
            Conditioning(
                torch.cat([one.text, two.text]),
                one.characters,
                torch.cat([one.speech, two.speech]),
                one.audio_to_character,
            )
        )
        assert all(k.shape[0] == 1 for k, _ in together.face)
        both = run(model, replace(one, text=torch.cat([one.text, two.text])), binding=together)
        halves = [run(model, half, x=latents()[i : i + 1]) for i, half in enumerate((one, two))]
        torch.testing.assert_close(both, torch.cat(halves), rtol=1e-4, atol=1e-5)


def test_a_mask_source_sees_queries_and_keys_of_every_row(model):
    seen = []

    def masks(layer, q, k):
        seen.append((q.shape, k.shape))
        return Masks()(layer, q, k)

    with torch.no_grad():
        run(model, told(), masks, binding=model.project(told(b=1)))
    heads, d = CONFIG.face_heads, CONFIG.face_head_dim
    assert seen == [((B, heads, GRID.tokens, d), (B, N, heads, K, d))] * CONFIG.face_layers


# What diffusers does with it


def test_gradient_checkpointing_changes_neither_output_nor_gradients(model):
    class Learned(torch.nn.Module):
        """Masks with a gradient, as a router in training has them."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, layer, q, k):
            return Routed(Masks()(layer, q, k).mask * self.scale + 0.01 * q.mean(dim=(1, 3))[:, None])

    results = []
    for checkpointing in (False, True):
        (model.enable_gradient_checkpointing if checkpointing else model.disable_gradient_checkpointing)()
        model.train().zero_grad()
        router = Learned()
        out, routed = model(latents(), told().text, torch.full((B,), 1), model.project(told()), router)
        (out.square().sum() + sum(r.mask.square().sum() for r in routed)).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append([out.detach(), router.scale.grad, *gradients])
    assert len(results[0]) == len(results[1]) > 100
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_it_survives_being_saved_and_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["face_interval"] == 2
    with torch.no_grad():
        assert torch.equal(run(BindYourAvatarTransformer.from_pretrained(tmp_path)), run(model))


def test_first_block_cache_gives_the_same_output_on_identical_inputs(model):
    from diffusers import FirstBlockCacheConfig

    with torch.no_grad():
        expected = run(model)
        model.enable_cache(FirstBlockCacheConfig(threshold=0.05))
        for step in range(3):
            masks = Masks()
            with model.cache_context("one"):
                torch.testing.assert_close(run(model, masks=masks), expected, rtol=1e-4, atol=1e-5)
            assert masks.asked == ([0, 1] if step == 0 else [0])  # the cached steps run the first block only


def test_mag_cache_gives_the_same_output_on_identical_inputs(model):
    from diffusers import MagCacheConfig

    with torch.no_grad():
        expected = run(model)
        model.enable_cache(
            MagCacheConfig(threshold=1.0, retention_ratio=0.0, num_inference_steps=4, mag_ratios=[1.0] * 4)
        )
        asked = []
        for _ in range(4):
            masks = Masks()
            with model.cache_context("one"):
                torch.testing.assert_close(run(model, masks=masks), expected, rtol=1e-4, atol=1e-5)
            asked.append(len(masks.asked))
        assert asked[0] == 2 and 0 in asked[1:]  # some steps run no block at all


def test_the_attention_backend_chosen_is_the_one_called(model, monkeypatch):
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    called = []
    for name in (AttentionBackendName.NATIVE, AttentionBackendName._NATIVE_MATH):
        backend = _AttentionBackendRegistry._backends[name]

        def spy(*inputs, _name=name, _backend=backend, **options):
            called.append(_name)
            return _backend(*inputs, **options)

        monkeypatch.setitem(_AttentionBackendRegistry._backends, name, spy)

    active = _AttentionBackendRegistry.get_active_backend()[0]
    with torch.no_grad():
        try:
            native = run(model)
            assert set(called) == {AttentionBackendName.NATIVE} and len(called) == CONFIG.num_layers
            called.clear()
            model.set_attention_backend("_native_math")
            torch.testing.assert_close(run(model), native, rtol=1e-4, atol=1e-5)
            assert set(called) == {AttentionBackendName._NATIVE_MATH} and len(called) == CONFIG.num_layers
        finally:
            _AttentionBackendRegistry.set_active_backend(active)
    assert all(isinstance(p, JointAttention) for p in model.attn_processors.values())


CONFIGURED = f"config = {asdict(CONFIG)!r}\n"

COMPILED = """
import torch
from torch._dynamo.testing import CompileCounter
from byav_core.model.transformer import BindYourAvatarTransformer
from byav_core.types import Conditioning, Routed

model = BindYourAvatarTransformer(**config | {"num_layers": 12})
told = Conditioning(
    torch.randn(1, 7, 96), torch.randn(1, 3, 8, 80), torch.randn(1, 2, 2, 6, 56), torch.ones(1, 2, 3)
)

def run(x):
    return model(x, told.text, torch.tensor([499]), model.project(told), lambda *_: Routed(torch.ones(1, 3, 30)))[0]

with torch.no_grad():
    x, counts = torch.randn(1, 2, 24, 6, 10), CompileCounter()
    expected = run(x)
    model.compile_repeated_blocks(backend=counts)
    torch.testing.assert_close(run(x), expected, rtol=1e-4, atol=1e-5)
    compiled = counts.frame_count
    run(x + 1)
assert 0 < compiled < 12 and counts.frame_count == compiled, (compiled, counts.frame_count)
"""


@pytest.mark.slow
def test_blocks_are_compiled_once_for_all_layers():
    """In a process of its own: the checks of the annotations cannot be compiled."""
    ran = subprocess.run([sys.executable, "-c", CONFIGURED + COMPILED], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


PARALLEL = """
import sys, torch
import torch.distributed as dist
from diffusers.hooks.context_parallel import apply_context_parallel
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from byav_core.model import attention
from byav_core.model.transformer import BindYourAvatarTransformer
from byav_core.types import Conditioning, Routed

rank, meet = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + meet, rank=rank, world_size=2)
torch.manual_seed(0)
model = BindYourAvatarTransformer(**config)
told = Conditioning(
    torch.randn(1, 8, 96), torch.randn(1, 3, 8, 80), torch.randn(1, 2, 4, 6, 56), torch.ones(1, 2, 3)
)
x, mask = torch.randn(1, 4, 24, 6, 10), torch.rand(1, 3, 60)

def run():
    return model(x, told.text, torch.tensor([499]), model.project(told), lambda *_: Routed(mask))[0]

lengths, dispatch = set(), attention.dispatch_attention_fn
def spy(q, *rest, **options):
    lengths.add(q.shape[1])
    return dispatch(q, *rest, **options)
attention.dispatch_attention_fn = spy

with torch.no_grad():
    expected = run()
    config = ContextParallelConfig(ulysses_degree=2)
    mesh = dist.device_mesh.init_device_mesh("cpu", config.mesh_shape, mesh_dim_names=config.mesh_dim_names)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(rank, 2, torch.device("cpu"), mesh=mesh)
    for processor in model.attn_processors.values():
        processor._parallel_config = parallel
    apply_context_parallel(model, config, model._cp_plan)
    torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-5)
assert lengths == {68, 34}, lengths
"""


@pytest.mark.slow
def test_joint_attention_split_over_two_processes_gives_the_same_output(tmp_path):
    """What `enable_parallelism` sets up on accelerators, here between two processes on the CPU."""
    command = [sys.executable, "-W", "ignore", "-c", CONFIGURED + PARALLEL]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)


def test_weights_may_be_stored_in_eight_bits(model):
    with torch.no_grad():
        expected = run(model)
        model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
        stored = {name: p.dtype for name, p in model.named_parameters()}
        rough = run(model)
    kept = {name for name, dtype in stored.items() if dtype == torch.float32}
    assert {name for name in stored if "norm" in name or "patch_embed" in name} <= kept
    assert not {name for name in kept if ".to_" in name or ".ff." in name}
    assert torch.nn.functional.cosine_similarity(rough.flatten(), expected.flatten(), dim=0) > 0.99


def test_half_precision_runs_throughout(model):
    halved = model.to(torch.bfloat16)
    c = told()
    c = replace(c, **{key: value.bfloat16() for key, value in vars(c).items() if key != "audio_to_character"})
    with torch.no_grad():
        assert run(halved, c, x=latents().bfloat16()).dtype == torch.bfloat16
