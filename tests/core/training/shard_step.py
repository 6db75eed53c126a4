"""One step of the network whole, then shared out by FSDP2 among the processes this is started in; says how much the
gradients differ."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from byav_core.config import tiny  # noqa: E402 found only now
from byav_core.network import Network  # noqa: E402
from byav_core.training.memory import blank_batch  # noqa: E402
from byav_core.training.stages import STAGES, adapt, freeze  # noqa: E402
from byav_core.training.step import TrainingStep  # noqa: E402
from byav_core.types import Clip  # noqa: E402

if __name__ == "__main__":
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    stage, network = replace(STAGES[2], lora_rank=4), Network.seeded(tiny())
    adapt(network, stage)
    trained = freeze(network, stage)
    step, batch = (
        TrainingStep(network.train(), stage, tiny().schedule),
        blank_batch(tiny(), Clip(9, 32, 48, 25.0), 2, device="cpu"),
    )

    def gradients():
        step(batch, torch.Generator().manual_seed(0))["total"].backward()
        found = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        network.zero_grad()
        return found

    whole = gradients()
    fully_shard(step, mesh=init_device_mesh("cpu", (dist.get_world_size(),)), reshard_after_forward=False)
    shared = {name: gradient.full_tensor() for name, gradient in gradients().items()}
    if dist.get_rank() == 0:
        worst = max((whole[name] - shared[name]).abs().max().item() for name in trained)
        Path(sys.argv[1]).write_text(str(worst))
    dist.destroy_process_group()
