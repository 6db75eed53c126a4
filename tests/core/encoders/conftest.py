import numpy as np
import pytest
import torch


def to_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255


@pytest.fixture(scope="session")
def pictures(real_inputs):
    """Anna, Ben and Carla, and Anna (left) and Ben (right) together; 0..1, channels first."""
    return {name: to_tensor(picture) for name, picture in real_inputs.pictures().items()}


@pytest.fixture(scope="session")
def group(real_inputs):
    """Six people at a table."""
    return to_tensor(real_inputs.group_photograph())
