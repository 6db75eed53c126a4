import gzip
import json
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file

from byav_core.config import RouterConfig, released, tiny
from byav_core.routing import IntraDenoiseRouter, intra_denoise
from byav_core.routing.heads import HEADS
from byav_core.types import Routed, Scene, TokenGrid

SMALL = RouterConfig(heads=4, head_dim=10, face_tokens=6, depth=2, attention_heads=2)
LAYERS = 3


def plan(router: IntraDenoiseRouter, grid: TokenGrid, n: int):
    return router.plan(Scene(grid, tuple(f"person {i}" for i in range(n))))


def router_of(config: RouterConfig = SMALL, seed: int = 0, dtype: torch.dtype = torch.float64) -> IntraDenoiseRouter:
    """A router whose every number matters: norms and biases are no longer ones and zeros."""
    torch.manual_seed(seed)
    router = IntraDenoiseRouter(config, LAYERS).to(dtype)
    with torch.no_grad():
        for weight in router.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return router


def query_and_key(grid: TokenGrid, n: int, b: int = 1, config: RouterConfig = SMALL, dtype=torch.float64):
    torch.manual_seed(n)
    q = torch.randn(b, config.heads, grid.tokens, config.head_dim, dtype=dtype)
    return q, torch.randn(b, n, config.heads, config.face_tokens, config.head_dim, dtype=dtype)


def naive_features(router: IntraDenoiseRouter, layer: int, q, k):
    """As the paper and the release have it: every character with queries of its own, mapped anew."""
    heads, n = router.config.heads, k.shape[1]
    q = rearrange(q[:, None].expand(-1, n, -1, -1, -1), "b n h s d -> b n s (d h)")
    q = rearrange(router.to_q[layer](router.norm_q(q)), "b n s (r d) -> b n r s d", r=heads)
    k = router.to_k[layer](router.norm_k(rearrange(k, "b n h k d -> b n k (d h)")))
    return rearrange(q @ rearrange(k, "b n k (r d) -> b n r d k", r=heads), "b n r s k -> b s n (k r)")


# the released dialect, number for number


def close(mask, expected):
    assert mask.mT.shape == expected.shape
    assert (mask.mT - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.fixture
def released_tiny(vectors) -> IntraDenoiseRouter:
    described = json.loads((vectors / "router.config.json").read_text())["tiny"]
    heads = described["num_heads"]
    config = RouterConfig(
        heads=heads,
        head_dim=described["q_k_dim"] // heads,
        face_tokens=described["num_id_token"],
        head="sigmoid",
        positions="table",
        table_extent=(3, 4, 7),
    )
    router = IntraDenoiseRouter(config, described["num_layers"])
    router.load_state_dict(load_file(vectors / "router_tiny.state_dict.safetensors"))
    return router


@pytest.mark.parametrize("scores", ["_map_keys", "_map_queries"])
@pytest.mark.parametrize("layer", [0, 1])
def test_masks_equal_the_released_router(vectors, released_tiny, monkeypatch, scores, layer):
    recorded = load_file(vectors / "router.outputs.safetensors")
    for name in ("_map_keys", "_map_queries"):
        monkeypatch.setattr(intra_denoise, name, getattr(intra_denoise, scores))
    source = plan(released_tiny, TokenGrid(3, 4, 7), n=2)
    close(source(layer, recorded["tiny.q"], recorded["tiny.k"][None]).mask, recorded[f"tiny.out{layer}"])


def test_masks_equal_those_inside_the_released_transformer(vectors, recipe, released_tiny):
    described = json.loads((vectors / "tiny_transformer.config.json").read_text())
    shapes = {key: shape for key, shape in described["state_dict_shapes"].items() if key.startswith("router.")}
    buffers = load_file(vectors / "tiny_transformer.buffers.safetensors")
    state = recipe.state_dict(described["seed"], shapes, buffers)
    released_tiny.load_state_dict({key.removeprefix("router."): value for key, value in state.items()})
    taps = load_file(vectors / "tiny_transformer.taps_A.safetensors")
    source = plan(released_tiny, TokenGrid(3, 4, 7), n=2)
    for layer in (0, 1):
        calls = [f"tap.perceiver_cross_attention.{layer}#{row}" for row in (0, 1)]
        q, k = torch.stack([taps[f"{c}.2"][0] for c in calls]), torch.stack([taps[f"{c}.3"] for c in calls])
        expected = torch.cat([taps[f"tap.router#{2 * layer + row}.0"] for row in (0, 1)])
        close(source(layer, q, k).mask, expected)


@pytest.mark.slow
def test_masks_equal_the_released_router_at_its_real_size(vectors, recipe):
    router = IntraDenoiseRouter(released().router, face_layers=1)
    shapes = {key: tuple(value.shape) for key, value in router.state_dict().items()}
    router.load_state_dict(recipe.state_dict(32, shapes, {"pos_emb": router.pos_emb}))
    q, k = recipe.network_input(32, "router.q", 1, 16, 17550, 128), recipe.network_input(32, "router.k", 2, 16, 32, 128)
    with torch.no_grad():
        mask = plan(router, TokenGrid(13, 30, 45), n=2)(0, q, k[None]).mask
    close(mask, load_file(vectors / "router.outputs.safetensors")["real.out0"])


def test_names_and_shapes_are_the_released_ones(vectors):
    with gzip.open(vectors / "released_shapes.json.gz", "rt") as file:
        theirs = {key: tuple(shape) for key, shape in json.load(file).items() if key.startswith("router.")}
    with torch.device("meta"):
        router = IntraDenoiseRouter(released().router, face_layers=21)
    assert {f"router.{key}": tuple(value.shape) for key, value in router.state_dict().items()} == theirs


def test_the_published_file_comes_back_as_it_went_in(vectors, released_tiny):
    state = load_file(vectors / "router_tiny.state_dict.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in released_tiny.state_dict().items())


def test_the_papers_dialect_carries_none_of_the_release_leftovers():
    assert not [key for key in router_of().state_dict() if key.startswith(("pos_emb", "layer_merge"))]


# exact savings


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("scores", ["_map_keys", "_map_queries"])
def test_features_equal_the_naive_form(monkeypatch, grid, scores, n):
    for name in ("_map_keys", "_map_queries"):
        monkeypatch.setattr(intra_denoise, name, getattr(intra_denoise, scores))
    router, (q, k) = router_of(), query_and_key(grid, n, b=2)
    with torch.no_grad():
        ours, naive = router.features(1, q, k), naive_features(router, 1, q, k)
    assert torch.allclose(ours, naive, rtol=0, atol=1e-12 * naive.abs().max())


def test_the_cheaper_form_is_taken(monkeypatch, grid):
    taken = []
    for name in ("_map_keys", "_map_queries"):
        form = getattr(intra_denoise, name)
        monkeypatch.setattr(intra_denoise, name, lambda *x, form=form: (taken.append(form.__name__), form(*x))[1])
    for n in (1, 2, 5):  # 6 face tokens each, against 10 channels of a head
        router_of().features(0, *query_and_key(grid, n))
    assert taken == ["_map_keys", "_map_queries", "_map_queries"]


@pytest.mark.parametrize("n", [1, 4])
def test_keys_of_one_row_serve_all_rows(grid, n):
    router, (q, k) = router_of(), query_and_key(grid, n, b=3)
    source = plan(router, grid, n)
    assert torch.allclose(source(0, q, k[:1]).mask, source(0, q, k[:1].expand(3, -1, -1, -1, -1)).mask)


# laws


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("head", HEADS)
def test_the_order_of_the_cast_does_not_matter(grid, head, n):
    router, (q, k) = router_of(replace(SMALL, head=head)), query_and_key(grid, n)
    order = torch.randperm(n)
    with torch.no_grad():
        masks, reordered = (plan(router, grid, n)(0, q, keys).mask for keys in (k, k[:, order]))
    assert torch.allclose(reordered, masks[:, order])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_characters_and_background_share_a_token(grid, n):
    router, (q, k) = router_of(), query_and_key(grid, n, b=2)
    routed = plan(router, grid, n)(0, q, k)
    assert routed.mask.shape == (2, n, grid.tokens) and routed.logits.shape == (2, n + 1, grid.tokens)
    shares = routed.logits.softmax(dim=1)
    assert torch.equal(routed.mask, shares[:, :-1])
    assert torch.allclose(routed.mask.sum(dim=1) + shares[:, -1], torch.ones(2, grid.tokens, dtype=torch.float64))


def test_the_sigmoid_head_lets_characters_share_or_leave_a_token(grid):
    routed = plan(router_of(replace(SMALL, head="sigmoid")), grid, 2)(0, *query_and_key(grid, 2))
    assert torch.equal(routed.mask, routed.logits.sigmoid())


def test_rows_of_a_batch_do_not_touch(grid):
    router, (q, k) = router_of(), query_and_key(grid, 3, b=2)
    source = plan(router, grid, 3)
    alone = torch.cat([source(1, q[i : i + 1], k[i : i + 1]).mask for i in range(2)])
    assert torch.allclose(source(1, q, k).mask, alone)


def test_what_stands_still_is_owned_the_same_at_all_times(grid):
    q, k = query_and_key(TokenGrid(1, grid.h, grid.w), 2)
    still = plan(router_of(), grid, 2)(0, q.repeat(1, 1, grid.t, 1), k).mask
    folded = grid.fold(still)
    assert torch.allclose(folded, folded[:, :, :1].expand_as(folded))


@pytest.mark.parametrize("axis", ["t", "h", "w"])
def test_places_have_an_order_along_every_axis(grid, axis):
    source, (q, k) = plan(router_of(), grid, 2), query_and_key(grid, 2)
    folded = rearrange(q, "1 heads (t h w) d -> heads d t h w", t=grid.t, h=grid.h)
    shuffled = folded.roll(1, dims="heads d t h w".split().index(axis))
    moved = source(0, rearrange(shuffled, "heads d t h w -> 1 heads (t h w) d"), k).mask
    back = grid.fold(moved).roll(-1, dims="b n t h w".split().index(axis))
    assert not torch.allclose(back, grid.fold(source(0, q, k).mask), atol=1e-4)


def test_one_router_serves_any_grid_and_tells_places_apart():
    router = router_of()
    for grid in (TokenGrid(1, 2, 3), TokenGrid(4, 3, 2), TokenGrid(2, 5, 7)):
        q, k = query_and_key(TokenGrid(1, 1, 1), 2)
        assert plan(router, grid, 2)(0, *query_and_key(grid, 2)).mask.shape == (1, 2, grid.tokens)
        q = q.repeat(1, 1, grid.tokens, 1)
        q[:, :, 0] = torch.randn_like(q[:, :, 0])
        alike_but_for_their_place = plan(router, grid, 2)(0, q, k).mask[0, 0, 1:]
        assert alike_but_for_their_place.std() > 1e-4


def test_a_layer_has_maps_of_its_own(grid):
    source = plan(router_of(), grid, 2)
    q, k = query_and_key(grid, 2)
    assert not torch.allclose(source(0, q, k).mask, source(1, q, k).mask)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("positions", ["rotary", "table"])
def test_gradients_reach_the_router_and_stop_at_its_door(grid, n, head, positions):
    config = replace(SMALL, head=head, positions=positions)
    router, (q, k) = router_of(config), query_and_key(grid, n, b=2)
    q, k = q.requires_grad_(), k.requires_grad_()
    plan(router, grid, n)(1, q, k).logits.square().mean().backward()
    assert q.grad is None and k.grad is None
    silent = {name for name, weight in router.named_parameters() if weight.grad is None}
    assert all(name.startswith(("to_q.0", "to_q.2", "to_k.0", "to_k.2", "layer_merge")) for name in silent)


def test_half_precision_stays_close(grid):
    q, k = query_and_key(grid, 2, dtype=torch.float32)
    router = router_of(dtype=torch.float32)
    exact = plan(router, grid, 2)(0, q, k).mask
    half = plan(router.bfloat16(), grid, 2)(0, q.bfloat16(), k.bfloat16()).mask
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.05


# one mask for the layers that follow


@pytest.mark.parametrize("keep", [0, 1])
def test_the_mask_of_one_layer_serves_all_later_ones(grid, keep):
    router, (q, k) = router_of(replace(SMALL, mask_layer=keep)), query_and_key(grid, 2)
    free = router_of()
    source = plan(router, grid, 2)
    for step in range(2):
        asked = q + step
        masks = [source(layer, asked, k).mask for layer in range(LAYERS)]
        own = [plan(free, grid, 2)(layer, asked, k).mask for layer in range(LAYERS)]
        assert all(torch.equal(masks[layer], own[min(layer, keep)]) for layer in range(LAYERS))


def test_later_layers_cost_nothing_then(grid):
    router, (q, k) = router_of(replace(SMALL, mask_layer=0)), query_and_key(grid, 2)
    ran = []
    router.register_forward_hook(lambda module, inputs, output: ran.append(inputs[0]))
    source = plan(router, grid, 2)
    assert all(isinstance(source(layer, q, k), Routed) for layer in range(LAYERS))
    assert ran == [0]


# what cannot be built


def test_features_that_do_not_divide_into_attention_heads_are_refused():
    with pytest.raises(ValueError, match="width 24 do not divide into 5 attention heads"):
        IntraDenoiseRouter(replace(SMALL, attention_heads=5, positions="table"), 1)


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_mask_layer_that_does_not_exist_is_refused(layer):
    with pytest.raises(ValueError, match=f"router.mask_layer is {layer}; there are face layers 0 to 1"):
        IntraDenoiseRouter(replace(SMALL, mask_layer=layer), face_layers=2)


def test_the_built_in_tiny_configuration_works(grid):
    router = IntraDenoiseRouter(tiny().router, face_layers=2)
    q, k = query_and_key(grid, 2, config=tiny().router, dtype=torch.float32)
    assert plan(router, grid, 2)(1, q, k).mask.shape == (1, 2, grid.tokens)
