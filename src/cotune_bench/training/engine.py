"""The one loop that trains, for every method."""

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cotune_bench.backbones.precision import arithmetic
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.parallel import first_s, rank, together, world
from cotune_bench.storage.cache import Cache
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.interrupts import InterruptedRun, StopRequest
from cotune_bench.training.progress import Report

log = logging.getLogger(__name__)

#: A term this many times the cross-entropy, over this many updates, leaves little of the task.
DOMINANCE, DOMINANT_UPDATES = 10, 50

AFRESH = "delete its checkpoint-*.pt to start the run from its first update"


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message names update, learning rate and terms."""


def fit(
    method: Method,
    data: TargetData,
    protocol: Protocol,
    *,
    seed: int,
    cache: Cache,
    report: Report = lambda updates, lr, terms: None,
    report_every: int = 50,
    checkpoints: Checkpoints | None = None,
    stop: StopRequest | None = None,
    sync_batch_norm: bool = True,
    shard: bool = False,
) -> None:
    """Prepare a method and, unless that solves it, train it in place by the protocol's schedule.

    The result is a function of the arguments alone.

    The global random state of torch is set from (seed, step) before every update, so that layers that draw numbers
    need no state of their own and a run can resume from any step.

    Args:
        method: built and on its device.
        seed: of batches, augmentation and layers that draw numbers.
        cache: for what the method prepares.
        report: called every ``report_every`` updates and at the end.
        checkpoints: to resume from and to save to; None starts from the beginning and saves nothing.
        stop: asked after every update; a signal in it saves a checkpoint and ends the run.
        sync_batch_norm: whether several processes have the batch statistics of one.
        shard: whether each of several processes keeps a part of weights, gradients and momentum.

    Raises:
        NonFiniteLossError: at the first report after a loss was NaN or infinite.
        InterruptedRun: ``stop`` received a signal.
        UserError: the checkpoints are those of other source weights or of a network with other layers.
    """
    with arithmetic("fp32"):
        method.prepare(data, cache)
    if method.solved:
        return
    method.train()
    watch = DominanceWatch()
    pending: list[dict[str, Tensor]] = []  # read only at reports: a look at a loss waits for the device
    first = 0
    saved = checkpoints.load() if checkpoints else None
    if checkpoints and saved:
        first, pending = saved["updates"], saved["pending"]
        if saved.get("weights_id", method.weights_id) != method.weights_id:
            raise UserError(f"{checkpoints.folder} was begun with other source weights: {AFRESH}")
        _restore(method, saved["method"], checkpoints)
        log.info("resumes after update %d", first)
    batches = replace(data.train, views=method.train_views).stream(first, protocol.updates)
    with ExitStack() as stack:
        if shard := shard and world() > 1:
            from cotune_bench.training import sharding  # it takes a second to import

            stack.enter_context(sharding.sharded(method))
        network = stack.enter_context(together(method, sync_batch_norm=sync_batch_norm, sharded=shard))
        optimizer = make_optimizer(method, protocol, fused=not shard)
        if checkpoints and saved:
            _restore(optimizer, saved["optimizer"], checkpoints)
            if shard:
                sharding.shard_state(optimizer)
        for step, batch in zip(range(first, protocol.updates), batches, strict=True):
            set_learning_rates(optimizer, protocol, step)
            lr = protocol.lr * rate_factor(protocol, protocol.drop_at, step)
            _set_random_state(_mix(seed, step))
            try:
                with arithmetic(method.precision):
                    optimizer.zero_grad()
                    terms = network(batch)
                    torch.stack(list(terms.values())).sum().backward()
            except torch.linalg.LinAlgError as error:  # pyright: ignore # what decompositions say to NaN
                raise NonFiniteLossError(
                    f"the loss of update {step} (learning rate {lr:g}) is not finite: {error}"
                ) from error
            for penalty in method.penalties().values():
                penalty.add_gradients()
            optimizer.step()
            method.after_step()
            pending.append({name: term.detach() for name, term in terms.items()})
            if (step + 1) % report_every == 0 or step + 1 == protocol.updates:
                terms = _means(pending, first=step + 1 - len(pending), lr=lr)
                values = {name: penalty.value().item() for name, penalty in method.penalties().items()}
                watch(terms | values, len(pending))
                report(step + 1, lr, terms | values)
                pending.clear()
            stopped = first_s(stop.number or 0 if stop else 0)
            if checkpoints and (rank() == 0 or shard) and (stopped or checkpoints.due(step + 1)):
                state = {"method": method.state_dict(), "optimizer": optimizer.state_dict(), "pending": pending}
                state = sharding.whole(state) if shard else state
                if rank() == 0:
                    checkpoints.save(step + 1, {**state, "weights_id": method.weights_id})
            if stopped:
                raise InterruptedRun(stopped)
    method.finish(data)


def _restore(target: Method | torch.optim.Optimizer, state: dict, checkpoints: Checkpoints) -> None:
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{checkpoints.folder} has checkpoints of another version: {AFRESH}") from error


class DominanceWatch:
    """Warns once of a term whose weight does not fit the network: the run would end at chance without a word."""

    def __init__(self) -> None:
        self.updates: dict[str, int] = {}
        self.warned = False

    def __call__(self, terms: dict[str, float], count: int) -> None:
        """Note the means of the terms over the last ``count`` updates."""
        limit = DOMINANCE * max(terms.get("ce", math.inf), 1.0)  # below 1 the task is being learnt
        self.updates = {name: self.updates.get(name, 0) + count for name, value in terms.items() if value > limit}
        for name, updates in self.updates.items():
            if updates >= DOMINANT_UPDATES and not self.warned:
                self.warned = True
                log.warning(
                    "the term %s was more than %d times the cross-entropy over the last %d updates: lower its "
                    "weight, or let cotune-bench tune choose it on validation images",
                    name,
                    DOMINANCE,
                    updates,
                )


def make_optimizer(method: Method, protocol: Protocol, *, fused: bool = True) -> torch.optim.Optimizer:
    """The protocol's optimiser of a method's parameter groups, which may bring their own weight decay."""
    groups = method.param_groups(protocol.lr, protocol.backbone_ratio)
    groups = [{**group, "first_lr": group["lr"]} for group in groups]
    options = {"weight_decay": protocol.weight_decay, "fused": fused}
    if protocol.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=(protocol.momentum, 0.999), **options)
    return torch.optim.SGD(groups, momentum=protocol.momentum, nesterov=protocol.nesterov, **options)


def set_learning_rates(optimizer: torch.optim.Optimizer, protocol: Protocol, step: int) -> None:
    """The schedule: each group's rate at this step; a group may have other steps to drop at than the protocol."""
    for group in optimizer.param_groups:
        group["lr"] = group["first_lr"] * rate_factor(protocol, group.get("drop_at", protocol.drop_at), step)


def rate_factor(protocol: Protocol, drop_at: Sequence[int], step: int) -> float:
    """Factor on the learning rate at this step, from 0: warm-up, then drops or half a cosine."""
    warmup = round(protocol.warmup * protocol.updates)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if protocol.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (protocol.updates - warmup)))
    return protocol.drop_factor ** sum(step >= drop for drop in drop_at)


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)


def _set_random_state(seed: int) -> None:
    """As ``torch.manual_seed``, which notes a traceback at every call for each kind of device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _means(pending: list[dict[str, Tensor]], *, first: int, lr: float) -> dict[str, float]:
    names = list(pending[0])
    # Row by row to the host: what a checkpoint brought back is there already.
    values = torch.stack([torch.stack([terms[name] for name in names]).cpu() for terms in pending]).double()
    for offset, row in enumerate(values.tolist()):
        if not all(map(math.isfinite, row)):
            terms = ", ".join(f"{name}={value:g}" for name, value in zip(names, row, strict=True))
            raise NonFiniteLossError(
                f"the loss is not finite at update {first + offset} (learning rate {lr:g}): {terms}; "
                "lower protocol.lr or the weight of the term"
            )
    return dict(zip(names, values.mean(dim=0).tolist(), strict=True))
