import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file

from byav_core.config import RouterConfig, released
from byav_core.routing.positions import AddedTable, Rotary, Rotation, released_table
from byav_core.types import TokenGrid

GRID = TokenGrid(t=3, h=4, w=7)
CPU = torch.device("cpu")
WIDE = RouterConfig(heads=4, face_tokens=16, attention_heads=2)  # 32 channels per attention head: 16 pairs


def test_the_table_equals_the_released_one(vectors):
    recorded = load_file(vectors / "router.outputs.safetensors")
    assert torch.equal(released_table(GRID, 32), recorded["tiny.pos_emb"])
    whole = released_table(TokenGrid(*released().router.table_extent), 512)
    t, w, h = (slice(None, None, 4), slice(None, None, 11), slice(None, None, 7))
    assert torch.allclose(whole[t, w, h], recorded["real.pos_emb_slices"], atol=1e-6)


def test_the_released_fold_reads_columns_and_rows_off_the_wrong_extent():
    table = released_table(GRID, 32)
    added = AddedTable(WIDE).places(GRID, table, CPU).added
    for p in (0, 1, 9, 27):
        assert torch.equal(added[2, p], table[2, p // GRID.h, p % GRID.h])


def test_the_table_of_the_checkpoint_counts_on_its_own_grid_only():
    theirs = torch.full((3, 7, 4, 64), 0.5)
    assert (AddedTable(WIDE).places(GRID, theirs, CPU).added == 0.5).all()
    other = TokenGrid(2, 5, 6)
    rebuilt = AddedTable(WIDE).places(other, theirs, CPU).added
    assert torch.equal(rebuilt, rearrange(released_table(other, 64), "t w h d -> t (w h) d"))


def test_time_row_and_column_share_the_channel_pairs():
    assert Rotary(WIDE).pairs == (4, 6, 6)
    assert Rotary(RouterConfig()).pairs == (8, 12, 12)
    assert Rotary(RouterConfig(heads=3, face_tokens=6, attention_heads=3)).pairs == (1, 1, 1)


def test_a_step_along_an_axis_turns_the_pairs_of_that_axis_only():
    places = Rotary(WIDE).places(GRID, None, CPU)
    frame, time = places.within_frame.phases, places.over_time.phases
    steps = {"row": frame[GRID.w] / frame[0], "column": frame[1] / frame[0], "time": time[1] / time[0]}
    turned = {name: (step.angle() > 0).nonzero().flatten().tolist() for name, step in steps.items()}
    assert turned == {"time": [0, 1, 2, 3], "row": [4, 5, 6, 7, 8, 9], "column": [10, 11, 12, 13, 14, 15]}


@pytest.mark.parametrize("face_tokens", [4, 7])
def test_heads_too_narrow_for_three_axes_are_refused(face_tokens):
    with pytest.raises(ValueError, match=f"even head width of at least 6, but .* give {face_tokens}"):
        Rotary(RouterConfig(heads=2, face_tokens=face_tokens, attention_heads=2))


def scores(turn, q, k):
    return turn(q) @ turn(k).mT


def test_only_distance_counts():
    places = Rotary(WIDE).places(GRID, None, CPU)
    q, k = torch.randn(2, 1, 1, 1, 32)
    within = scores(places.within_frame, q.expand(1, 1, 28, 32), k.expand(1, 1, 28, 32))
    within = rearrange(within, "1 1 (h w) (h2 w2) -> h w h2 w2", h=4, h2=4)
    assert torch.allclose(within[0, 0, 2, 3], within[1, 2, 3, 5], atol=1e-5)
    assert not torch.allclose(within[0, 0, 2, 3], within[0, 0, 3, 2], atol=1e-2)
    time = scores(places.over_time, q.expand(1, 1, 3, 32), k.expand(1, 1, 3, 32))[0, 0]
    assert torch.allclose(time[0, 1], time[1, 2], atol=1e-5)


def test_phases_of_axes_not_attended_over_cancel():
    places = Rotary(WIDE).places(GRID, None, CPU)
    frame, time = places.within_frame.phases, places.over_time.phases
    q, k = torch.randn(2, 1, 1, 28, 32, dtype=torch.float64)
    for t in range(GRID.t):
        whole = Rotation(frame * time[t])
        assert torch.allclose(scores(whole, q, k), scores(places.within_frame, q, k), atol=1e-5)


def test_a_turn_keeps_lengths_and_kind():
    turn = Rotary(WIDE).places(GRID, None, CPU).within_frame
    x = torch.randn(2, 3, 28, 32)
    assert torch.allclose(turn(x).norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert turn(x.bfloat16()).dtype == torch.bfloat16
    assert not torch.allclose(turn(x)[:, :, 1:], x[:, :, 1:])
    assert torch.allclose(turn(x)[:, :, 0], x[:, :, 0])
