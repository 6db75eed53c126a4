import pytest
import torch

from byav_core.routing.heads import SigmoidHead, SoftmaxHead


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(2, 5, 3, 8), torch.randn(2, 3, 5)


def test_a_strong_background_leaves_nothing_to_anybody(features):
    head = SoftmaxHead(8)
    torch.nn.init.constant_(head.background.bias, 50.0)
    routed = head(*features)
    assert routed.mask.max() < 1e-6 and routed.logits.argmax(dim=1).eq(3).all()


def test_a_character_with_no_rival_and_no_background_owns_the_token(features):
    head = SoftmaxHead(8)
    torch.nn.init.constant_(head.background.bias, -50.0)
    assert torch.allclose(head(features[0][:, :, :1], features[1][:, :1]).mask, torch.ones(2, 1, 5))


def test_the_background_does_not_depend_on_the_order_of_the_cast(features):
    head, (x, scores) = SoftmaxHead(8), features
    assert torch.allclose(head(x, scores).logits[:, -1], head(x.flip(2), scores.flip(1)).logits[:, -1], atol=1e-6)


def test_independent_answers_may_be_yes_for_all_or_none(features):
    x, scores = features
    assert SigmoidHead(8)(x, scores + 50).mask.min() > 0.99
    assert SigmoidHead(8)(x, scores - 50).mask.max() < 0.01
    assert not list(SigmoidHead(8).parameters())
