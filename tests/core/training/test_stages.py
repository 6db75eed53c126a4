from dataclasses import replace

import pytest

from byav_core.config import paper
from byav_core.network import Network
from byav_core.training.stages import PARTS, STAGES, Stage, adapt, freeze


def prefixes(trained):
    """Which parts of the network, as the first words of the parameters' names."""
    return {name.split(".")[0] for name in trained}


def test_the_papers_numbers():
    assert [stage.steps for stage in STAGES] == [10_000, 40_000, 10_000]
    assert {stage.batch for stage in STAGES} == {16} and {stage.learning_rate for stage in STAGES} == {1e-5}
    assert [stage.drops.first_frame for stage in STAGES] == [0.5, 0.05, 0.05]
    assert all(stage.drops.reference == stage.drops.speech == 0.05 for stage in STAGES)
    assert all(stage.dynamic_mask == 0.5 for stage in STAGES)
    assert (STAGES[2].losses.routing, STAGES[2].losses.smoothness, STAGES[2].losses.agreement) == (1, 0.001, 8)


def test_stage_1_trains_the_transformer_and_the_face_extractor_but_nothing_that_hears_or_routes(network):
    trained = freeze(network, STAGES[0])
    assert prefixes(trained) == {"transformer", "face_extractor"}
    assert not [name for name in trained if ".audio." in name] and [name for name in trained if ".face." in name]
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(trained)


def test_stage_2_leaves_the_video_blocks_alone_but_for_their_adapters(network):
    stage = replace(STAGES[1], lora_rank=4)
    adapt(network, stage)
    trained = freeze(network, stage)
    assert prefixes(trained) == {"transformer", "face_extractor", "speech_projector"}
    own = [name for name in trained if name.startswith("transformer.") and ".face." not in name]
    assert all(".audio." in name or ".lora_" in name for name in own) and any(".lora_" in name for name in own)


def test_stage_3_trains_the_router_the_cross_attentions_and_adapters(network):
    stage = replace(STAGES[2], lora_rank=4)
    adapt(network, stage)
    assert prefixes(freeze(network, stage)) == {"transformer", "router"}


def test_every_parameter_belongs_to_one_part(network):
    adapt(network, replace(STAGES[2], lora_rank=4))
    each = [set(freeze(network, replace(STAGES[0], trains=(part,)))) for part in PARTS]
    every = {name for name, _ in network.named_parameters()}
    unread = {"speech_projector.mute_learnable_tokens", "speech_projector.learnable_scale"}
    assert set().union(*each) == every - unread
    assert sum(len(names) for names in each) == len(every - unread)


def test_a_part_that_the_network_does_not_have_is_named(network):
    with pytest.raises(ValueError, match="stage 2 trains the lora, but small has none"):
        freeze(network, STAGES[1])


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"trains": ("transformer", "ears")}, "trains ears; there are transformer"),
        ({"teacher_forcing": 0.5}, "does not train the router"),
        ({"steps": 0}, "steps is 0; it should be 1 or more"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Stage(**{**vars(STAGES[0]), **change})


def test_the_full_size_stages_hold_on_meta():
    network = Network.on_meta(paper())
    assert sum(p.numel() for p in freeze(network, STAGES[0]).values()) > 5e9
    adapt(network, STAGES[2])
    assert 1e8 < sum(p.numel() for p in freeze(network, STAGES[2]).values()) < 4e9
