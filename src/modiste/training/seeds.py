"""Several seeds of one recipe in one computation, so that an interval costs little more than a single run on a GPU.

Every layer of all the networks is computed at once: their weights are stacked and the forward pass is vectorised over
them (Horace He and Richard Zou's ``torch.func``), which makes grouped convolutions of convolutions. Each seed has the
initial weights, order, augmentation and dropout that it has alone, and ends in a run folder of its own; figures agree
with those of single runs within rounding.
"""

import contextlib
import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.modules.batchnorm import _BatchNorm

from modiste import runtime, storage, training
from modiste.data.batches import Batches
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, StoppedError
from modiste.models import build_model, layers
from modiste.models.layers import AuxiliaryLoss, Dropout, Stochastic
from modiste.recipe import Recipe
from modiste.training.group import ALONE
from modiste.training.interruption import Interruption
from modiste.training.learner import Learner
from modiste.training.log import FileLog, Timing
from modiste.training.loop import finish_epoch
from modiste.training.objectives import OBJECTIVES
from modiste.training.optimizers import (
    OPTIMIZERS,
    make_recordable,
    parameter_groups,
    prepare,
    set_learning_rate,
    update,
)
from modiste.training.recording import Recording
from modiste.training.schedules import learning_rate
from modiste.training.setting import Setting


def run_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path | str,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> list[Path]:
    """Train ``recipe`` with every seed at once; return the run folders, ``out/NAME-SEED``.

    Finished runs are left as they are. Nothing of an unfinished one is kept when this is stopped.

    Args:
        recipe: what to train; its own seed is not used.
        seeds: one run each, all different.
        out: the folder of the run folders; made if missing.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: where Fashion-MNIST lies, if not in one of the usual places.

    Raises:
        RecipeError: the recipe asks for what cannot be stacked: a running average, patience, clipping, transfer,
            an auxiliary loss, random layers other than dropout.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: as for a single run.
    """
    place = runtime.choose_device(device)
    recipe = runtime.settle_precision(recipe, place)
    check_stackable(recipe)
    folders = [Path(out) / f"{recipe.name}-{seed}" for seed in seeds]
    development = load_development(recipe.data, data_folder).to(place)
    training.tell(development)
    task = training.describe_task(development, recipe)
    with contextlib.ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        learners, settings = [], []
        for folder, seed in zip(folders, seeds, strict=True):
            stack.enter_context(storage.lock(folder))
            own = replace(recipe, seed=seed)
            if not training.claim(folder, own):
                continue
            setting = Setting(own, development, folder, FileLog(folder), interruption)
            model = build_model(own.model, task, seed=seed).to(place)
            training.check_batches(model, len(development.train), own, ALONE)
            training.note_facts(folder, place, ALONE)
            learners.append(training.prepare(model, setting, None, None))
            settings.append(setting)
        if learners:
            fit_seeds(learners, settings)
        for learner, setting in zip(learners, settings, strict=True):
            training.finish(learner, setting, task)
    return folders


def check_stackable(recipe: Recipe) -> None:
    """Raise RecipeError when the recipe asks for what is done for one network alone."""
    asked = {
        "ema_decay": recipe.ema_decay,
        "patience": recipe.patience,
        "optimizer.clip_norm": recipe.optimizer.clip_norm,
        "transfer.source": recipe.transfer.source,
    }
    for name, value in asked.items():
        if value:
            raise RecipeError(f"{name}: not possible with several seeds at once, found {value}; train them one by one")


def fit_seeds(learners: Sequence[Learner], settings: Sequence[Setting]) -> None:
    """Train all learners to the recipe's last epoch, together.

    Raises:
        RecipeError: a network has a layer that cannot be stacked.
        DivergedError: the loss of one is not finite after an epoch.
        StoppedError: a signal asked to stop.
    """
    stack = Stack(learners, settings)
    for _ in range(settings[0].recipe.epochs):
        started = time.perf_counter()
        for chosen in zip(*(batches.choose(stack.steps) for batches in stack.batches), strict=True):
            if settings[0].interruption.requested:
                raise StoppedError(
                    f"stopped on request after step {stack.steps}; of seeds trained together nothing is kept"
                )
            stack.take(torch.stack(chosen))
        stack.give_back(learners)
        trained = time.perf_counter()
        for learner, own in zip(learners, settings, strict=True):
            finish_epoch(learner, own)
            timing = Timing.since(started, trained, len(own.development.train))
            own.listener.epoch_done(learner.history[-1], timing)


class Stack:
    """Networks as one: every parameter and buffer has a first axis for the networks.

    Args:
        learners: whose networks are taken; ``give_back`` returns what they have learnt.
        settings: of each, alike but for the seed.
    """

    def __init__(self, learners: Sequence[Learner], settings: Sequence[Setting]) -> None:
        models, self.settings, self.recipe = [learner.model for learner in learners], settings, settings[0].recipe
        device, recipe = settings[0].device, self.recipe
        _check_layers(models[0], recipe)
        for model in models:
            layers.to_training(model)
        self.batches = [Batches(own.development.train, own.recipe, own.classes) for own in settings]
        self.generators = [torch.Generator(device) for _ in settings]
        self.parameters, self.buffers = stack_module_state(models)
        self.network, self.dropouts = stackable(models[0])
        self.shapes: dict[int, list[Tensor]] = {}
        self.recordings: dict[int, Recording] = {}
        names = {id(item): name for name, item in models[0].named_parameters()}
        groups = parameter_groups(models[0], recipe.optimizer.weight_decay)
        for group in groups:
            group["params"] = [self.parameters[names[id(item)]] for item in group["params"]]  # type: ignore[attr-defined]
        self.optimizer = OPTIMIZERS[recipe.optimizer.name](groups, recipe.optimizer)
        if device.type == "cuda":
            make_recordable(self.optimizer, torch.zeros((), device=device))
        self.loss_sums = torch.zeros(len(models), device=device)
        self.correct = torch.zeros_like(self.loss_sums)
        self.steps = 0

    def take(self, chosen: Int64[Tensor, "s n"]) -> None:
        """Take one step of every network, each with images of its own."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, self.steps, self.settings[0].steps_per_epoch))
        prepare(self.optimizer)
        for own, batches, dropout in zip(self.settings, self.batches, self.generators, strict=True):
            batches.seed(self.steps)
            dropout.manual_seed(runtime.seed_for(own.recipe.seed, "dropout", self.steps))
        images = chosen.shape[1]
        if images not in self.recordings:
            drawn_from = [*self.generators, *(batches.generator for batches in self.batches)]
            self.recordings[images] = Recording(self.compute, chosen, drawn_from)
        self.recordings[images](chosen)
        self.steps += 1

    def compute(self, chosen: Int64[Tensor, "s n"]) -> None:
        """Do what the device does of a step."""
        parts = [batches.make(own) for batches, own in zip(self.batches, chosen, strict=True)]
        images = torch.stack([part.images for part in parts])
        targets = torch.stack([part.targets for part in parts])
        buffers = self.buffers | self._masks(images)
        with runtime.autocast(self.recipe.precision, images.device):
            logits = torch.vmap(self._logits)(self.parameters, buffers, images)
        known = [part.weights for part in parts if part.weights is not None]
        weights, along = (torch.stack(known), 0) if known else (None, None)
        objective = torch.vmap(OBJECTIVES[self.recipe.objective], in_dims=(0, 0, along))
        losses = objective(logits.to(targets.dtype), targets, weights)
        self.optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        update(self.optimizer)
        self.loss_sums += losses.detach() * images.shape[1]
        self.correct += (logits.argmax(2) == targets.argmax(2)).sum(1)

    @torch.no_grad()
    def give_back(self, learners: Sequence[Learner]) -> None:
        """Let every learner have its network's weights, and what its training came to since the last time."""
        for index, learner in enumerate(learners):
            for name, tensor in (*learner.model.named_parameters(), *learner.model.named_buffers()):
                tensor.copy_((self.parameters | self.buffers)[name][index])
            learner.step = self.steps
            learner.loss_sum, learner.correct = self.loss_sums[index].item(), int(self.correct[index])
        self.loss_sums.zero_()
        self.correct.zero_()

    def _logits(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n classes"]:
        logits: Tensor = functional_call(self.network, (parameters, buffers), (images,))
        return logits

    def _masks(self, images: Float[Tensor, "s n c h w"]) -> dict[str, Tensor]:
        """Draw what dropout keeps, as each network alone would: layer after layer from the network's own generator."""
        if not self.dropouts:
            return {}
        if images.shape[1] not in self.shapes:
            self.shapes[images.shape[1]] = self._entering(images[0])
        shapes = self.shapes[images.shape[1]]
        drawn = [
            [
                torch.empty_like(x).bernoulli_(1 - layer.rate, generator=generator)
                for layer, x in zip(self.dropouts.values(), shapes, strict=True)
            ]
            for generator in self.generators
        ]
        return {
            f"{name}.keep": torch.stack(masks)
            for name, masks in zip(self.dropouts, zip(*drawn, strict=True), strict=True)
        }

    @torch.no_grad()
    def _entering(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """Return what enters each dropout, for its shape, number format and layout."""
        network, seen = copy.deepcopy(self.network), list[Tensor]()
        for name in self.dropouts:
            network.get_submodule(name).register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        with runtime.autocast(self.recipe.precision, images.device):
            network(images)
        return seen


class GivenDropout(nn.Module):
    """Dropout that is told what to keep, for drawing does not vectorise with a generator for each network."""

    keep: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("keep", torch.ones(()))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x * self.keep / (1 - self.rate)


def stackable(model: nn.Module) -> tuple[nn.Module, dict[str, GivenDropout]]:
    """Return a copy of the network that vectorises, and its dropout layers by name.

    GivenDropout stands for Dropout, and what enters batch normalisation becomes float32: vectorised, it takes no other
    format than its weights'.
    """
    network, given = copy.deepcopy(model), dict[str, GivenDropout]()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, Dropout) and layer.rate:
            given[name] = GivenDropout(layer.rate)
            network.set_submodule(name, given[name])
        elif isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(lambda _, arguments: (arguments[0].float(),))
    return network, given


def _check_layers(model: nn.Module, recipe: Recipe) -> None:
    for layer in model.modules():
        drawn = isinstance(layer, Stochastic) and not isinstance(layer, Dropout)
        if drawn or isinstance(layer, AuxiliaryLoss):
            raise RecipeError(
                f"model: {recipe.model.KIND} has a layer that cannot be trained with several seeds at once "
                f"({type(layer).__name__}); train them one by one"
            )
