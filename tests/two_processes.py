"""Methods trained by two processes of their own, which import little: they are started for each comparison."""

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from conftest import PROTOCOL, make_data
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from cotune_bench.inference.evaluate import evaluate
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.training.engine import fit

#: More, and the rounding of sums turns some choice of SpotTune's policy into the other one.
UPDATES = 8


def trained(method: Method, cache: Path, **options) -> dict:
    """Terms of each update, state and scores of a method, and the bytes of weights, gradients and momentum."""
    protocol = replace(PROTOCOL, updates=UPDATES, drop_at=(6,))
    data, terms, held = make_data(protocol=protocol), [], []
    note = {"report": lambda _updates, _lr, found: terms.append(found), "report_every": 1}
    watch = register_optimizer_step_post_hook(lambda optimizer, *_: held.append(_bytes(optimizer)))
    fit(method, data, protocol, seed=0, cache=Cache(cache), **note, **options)
    watch.remove()
    scores = evaluate(method, data.test)[0]
    return {"terms": terms, "state": dict(method.state_dict()), "scores": scores, "bytes": held[-1]}


def _bytes(optimizer: torch.optim.Optimizer) -> int:
    """What an optimiser refers to in this process."""
    own = [one for group in optimizer.param_groups for one in group["params"]]
    tensors = [*own, *(one.grad for one in own), *(optimizer.state[one].get("momentum_buffer") for one in own)]
    return sum((one.to_local() if isinstance(one, DTensor) else one).nbytes for one in tensors if one is not None)


def on_two(folder: Path, asked: dict[str, tuple[Method | None, dict]]) -> list[dict[str, dict]]:
    """What :func:`trained` finds, in each of two processes, for methods with their options; they build None there."""
    context = multiprocessing.get_context("spawn")
    content = pickle.dumps(asked)  # multiprocessing would give them shared buffers
    processes = [context.Process(target=_one_of_two, args=(rank, folder, content)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _one_of_two(rank: int, folder: Path, content: bytes) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), 2), rank=rank, world_size=2)
    asked = pickle.loads(content)  # noqa: S301
    found = {}
    for name, (method, options) in asked.items():
        if method is None:
            from toy_methods import make_method  # noqa: PLC0415  # it takes seconds to import

            method = make_method(name)
        found[name] = trained(method, folder / "cache", **options)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
