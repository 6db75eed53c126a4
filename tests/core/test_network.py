from dataclasses import replace

import pytest
import torch

from byav_core.config import released, tiny
from byav_core.network import Network
from byav_core.types import Character, FaceFeatures


def test_on_meta_the_full_size_model_takes_no_memory():
    network = Network.on_meta(released())
    tensors = [*network.parameters(), *network.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert sum(tensor.numel() for tensor in tensors) == 8_656_795_202


def test_weights_follow_from_the_seed():
    one, same, other = (Network.seeded(tiny(), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["router.to_q.0.weight"], other["router.to_q.0.weight"])


def test_seeding_leaves_random_state_and_default_dtype_as_they_were():
    state, dtype = torch.random.get_rng_state(), torch.get_default_dtype()
    network = Network.seeded(tiny(), dtype=torch.bfloat16)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_default_dtype() is dtype
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.bfloat16}


def test_a_failed_build_restores_the_default_dtype():
    config = replace(tiny(), face_extractor=replace(tiny().face_extractor, depth=7))
    with pytest.raises(ValueError, match="depth 7"):
        Network.seeded(config, dtype=torch.bfloat16)
    assert torch.get_default_dtype() is torch.float32


def test_a_character_keeps_its_place_and_does_not_depend_on_the_others():
    network = Network.seeded(tiny())
    generator = torch.Generator().manual_seed(3)

    def character(name: str) -> Character:
        identity = torch.randn(72, generator=generator)
        hidden = tuple(torch.randn(17, 64, generator=generator) for _ in range(5))
        picture = torch.zeros(3, 9, 7)
        return Character(name, picture, FaceFeatures(identity, hidden, picture))

    with torch.no_grad():
        cast = [character(name) for name in ("Anna", "Ben", "Carla")]
        together = network.encode_characters(cast)
        assert together.shape == (1, 3, 8, 80)
        for place, one in enumerate(cast):
            torch.testing.assert_close(together[:, place], network.encode_characters([one])[:, 0])
