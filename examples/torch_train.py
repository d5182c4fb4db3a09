"""A training loop as small as it gets that still needs every rank: data-parallel regression with gradients reduced over gloo."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)
inputs = torch.randn(256, 4)
wanted = inputs @ torch.tensor([1.0, -2.0, 3.0, 0.5])
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1, bias=False))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(60):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs).squeeze(1), wanted)
    loss.backward()
    optimizer.step()
if rank == 0:
    print("world %d, loss %.6f" % (size, loss.item()), flush=True)
dist.destroy_process_group()
if loss.item() > 1e-3:
    raise SystemExit("did not learn")
