"""Checkpoints: one safetensors file each, with all that is needed to go on exactly where training was.

A checkpoint holds only what may differ from the start weights: the stages that were ever trainable, the head, the
optimiser's state, and the position. ``start.safetensors`` holds the whole network once. Never pickle.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tl_app.backbones.staged import StagedNetwork, layout_of
from tl_app.errors import ResourceError
from tl_app.runs import PROBE
from tl_app.tensors import write_tensors
from tl_app.transfer.distillation import Imitation
from tl_app.transfer.heads import fold_standard
from tl_app.transfer.standardise import Standardise

START = "start.safetensors"
LAST = "last.safetensors"
_SOUP = "best-soup.safetensors"
_NET, _IMITATION, _AVERAGE = "net.", "imitation.", "average."


@dataclass
class Position:
    """Where training is; everything that is not a tensor.

    Attributes:
        epoch: Whole epochs done, over all phases.
        step: Optimiser steps done, over all phases.
        step_in_epoch: Steps done in the epoch under way.
        seen: Photos trained on in the epoch under way.
        loss_sum: Sum over those of the training loss.
        correct: How many of those were classified right.
        phase: The phase that the saved optimiser state belongs to; -1 before the first.
        depth: The smallest freezing depth so far: stages before it equal the start weights.
        lr_scale: 1, or 0.5 after the loss was NaN once.
        micro_batches: Into how many parts a batch is cut to fit into memory.
        plan: How the frozen stages of ``phase`` are run, as :class:`tl_app.engine.frozen.Plan` has it.
        seconds: Training time so far.
        best_epoch: Counted from 1; 0 when no epoch is done.
        best_accuracy: Validation accuracy of the best epoch, 0 to 1.
        best_loss: Validation loss of the best epoch.
        ingredients: The best epochs so far, best first, each with its accuracy and loss; empty where no soup is to
            be made of them.
        soup: The epochs that the best model is the mean of, ``best_epoch`` first; its accuracy and loss are then
            those of the mean. Empty when it is that of one epoch.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    phase: int = -1
    depth: int = 10**6
    lr_scale: float = 1.0
    micro_batches: int = 1
    plan: dict[str, Any] | None = None
    seconds: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = 0.0
    best_loss: float = 0.0
    ingredients: list[tuple[int, float, float]] = field(default_factory=list)
    soup: list[int] = field(default_factory=list)

    @property
    def best_file(self) -> str | None:
        """The name of the best checkpoint, or None before the first epoch is done."""
        if self.soup:
            return _SOUP
        return best_name(self.best_epoch) if self.best_epoch else None

    @property
    def kept_files(self) -> set[str]:
        """The names of the best checkpoint and of those that a soup may be made of."""
        names = {best_name(epoch) for epoch, *_ in self.ingredients}
        return names | {self.best_file} if self.best_file else names

    def begin_epoch(self) -> None:
        """Nothing of the epoch under way is done."""
        self.step_in_epoch, self.seen, self.loss_sum, self.correct = 0, 0, 0.0, 0

    def keep(self, epoch: int, accuracy: float, loss: float, *, is_best: bool, room: int) -> bool:
        """Notes an epoch when it is the best or among the ``room`` best; returns whether its weights are to be kept."""
        if is_best:
            self.best_epoch, self.best_accuracy, self.best_loss, self.soup = epoch, accuracy, loss, []
        if room:
            known = [*self.ingredients, (epoch, accuracy, loss)]
            self.ingredients = sorted(known, key=lambda one: (-one[1], one[2], one[0]))[:room]
        return best_name(epoch) in self.kept_files


def best_name(epoch: int) -> str:
    """The file name of the best checkpoint when it was made in ``epoch``."""
    return f"best-{epoch:04d}.safetensors"


def weights(network: StagedNetwork, depth: int = 0) -> dict[str, Tensor]:
    """The network's weights and statistics from stage ``depth`` on, by name; not copied."""
    return {name: value.detach() for name, value in live_weights(network, depth).items()}


def live_weights(network: StagedNetwork, depth: int) -> dict[str, Tensor]:
    """The parameters and buffers themselves, from stage ``depth`` on, by name."""
    frozen: set[int] = set()
    for stage in network.stages[:depth]:
        frozen.update(id(t) for t in stage.module.state_dict(keep_vars=True).values())
    state = network.net.state_dict(keep_vars=True)
    return {_NET + name: value for name, value in state.items() if id(value) not in frozen}


def save_weights(path: Path, tensors: dict[str, Tensor], epoch: int = 0) -> None:
    """Writes what :func:`weights` gave, and which epoch they are of where that matters."""
    _write(path, tensors, {"epoch": str(epoch)} if epoch else {})


def save_checkpoint(
    path: Path,
    network: StagedNetwork,
    optimizer: torch.optim.Optimizer | None,
    position: Position,
    standard: Standardise | None,
    imitation: Imitation | None,
    average: Mapping[str, Tensor],
) -> None:
    """Writes all that is needed to go on.

    Args:
        path: The file to replace.
        network: Stages from ``position.depth`` on are saved.
        optimizer: Its state is saved by parameter name; None at the start of a phase.
        position: Saved in the file's metadata.
        standard: What the head's features are standardised by; its weights are saved as they are trained.
        imitation: The map to the teacher's features; its parameters are the optimiser's too.
        average: The running average of the weights, by their names; empty when there is none.
    """
    tensors = live_weights(network, position.depth)
    tensors.update({_AVERAGE + name: value for name, value in average.items()})
    if imitation is not None:
        tensors.update(imitation.state_dict(prefix=_IMITATION))
    if optimizer is not None:
        names = {id(parameter): name for name, parameter in _parameters(network, imitation).items()}
        for parameter, slots in optimizer.state.items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{slot}.{names[id(parameter)]}"] = value
    for name, value in standard.state_dict().items() if standard is not None else ():
        tensors[f"standard.{name}"] = value
    _write(path, tensors, {"position": json.dumps(dataclasses.asdict(position))})


def is_finite(trained: nn.Module, optimizer: torch.optim.Optimizer | None) -> bool:
    """Whether all that moves in training is: a finite loss may hide an infinite gradient."""
    tensors = list(trained.state_dict(keep_vars=True).values())
    for slots in optimizer.state.values() if optimizer is not None else ():
        tensors += [value for value in slots.values() if isinstance(value, Tensor)]
    return all(_all_finite(tensor.detach()) for tensor in tensors)


def _all_finite(tensor: Tensor) -> bool:
    # A sum tells five times sooner than a look at each number; it can overflow, but never hides what is not finite.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by the names that :func:`weights` gives them.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    return {_NET + name: tensor for name, tensor in _tensors(path, _NET).items()}


def load_weights(path: Path, network: StagedNetwork, *, head: bool = True) -> None:
    """Copies the weights in ``path`` into the network, in place; others stay as they are.

    Args:
        path: The file.
        network: With the same stages.
        head: Whether it has the same head too, and what that reads: else neither the head's weights are copied nor
            those of a second network beside the first.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    own = network.net.state_dict()
    of_head = (f"{_NET}{layout_of(network.name).classifier}.", f"{_NET}beside.")
    with _open(path) as file, torch.no_grad():
        for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
            if name.startswith(_NET) and (head or not name.startswith(of_head)):
                own[name.removeprefix(_NET)].copy_(file.get_tensor(name))


def read_position(path: Path) -> Position | None:
    """The position stored in a checkpoint; None when there is no such file.

    Raises:
        ResourceError: The file is damaged.
    """
    if not path.is_file():
        return None
    with _open(path) as file:
        position = Position(**json.loads(file.metadata()["position"]))
    position.ingredients = [(epoch, accuracy, loss) for epoch, accuracy, loss in position.ingredients]
    return position


def load_average(path: Path) -> dict[str, Tensor]:
    """The running average of the weights when the checkpoint was made, by name; empty when there was none.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    return _tensors(path, _AVERAGE)


def load_standard(path: Path) -> Standardise | None:
    """What the head's features were standardised by when the checkpoint was made.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    with _open(path) as file:
        if "standard.mean" not in file.keys():  # noqa: SIM118
            return None
        return Standardise(
            file.get_tensor("standard.mean").clone(), file.get_tensor("standard.scale").clone()
        )


def load_imitation(path: Path) -> Imitation | None:
    """The map to the teacher's features when the checkpoint was made; None without a teacher.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    found = _tensors(path, _IMITATION)
    if not found:
        return None
    channels: list[tuple[int | None, int]] = []
    while (mean := found.get(f"hints.{len(channels)}.mean")) is not None:
        weight = found.get(f"hints.{len(channels)}.map.weight")
        channels.append((weight.shape[1] if weight is not None else None, len(mean)))
    imitation = Imitation(channels)
    imitation.load_state_dict(found)
    return imitation


def load_optimizer(
    path: Path, network: StagedNetwork, imitation: Imitation | None, optimizer: torch.optim.Optimizer
) -> None:
    """Gives the optimiser the state it had in the checkpoint; tensors keep the parameters' memory layout.

    Raises:
        ResourceError: The file is missing or damaged.
    """
    trainable = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters = {n: p for n, p in _parameters(network, imitation).items() if id(p) in trainable}
    with _open(path) as file:
        for name in file.keys():  # noqa: SIM118
            if not name.startswith("optimizer."):
                continue
            _, slot, parameter_name = name.split(".", 2)
            parameter, value = parameters[parameter_name], file.get_tensor(name)
            if value.shape == parameter.shape and value.ndim:
                # The same strides as a fresh optimiser would use: kernels may round differently on others.
                optimizer.state[parameter][slot] = torch.empty_like(parameter).copy_(value)
            else:
                # Copied, or the file would stay mapped; fused kernels want the step count beside the weights.
                fused = optimizer.defaults.get("fused")
                optimizer.state[parameter][slot] = value.to(parameter.device if fused else "cpu", copy=True)


def load_probe(folder: Path, network: StagedNetwork) -> int:
    """Copies the source's stages and the head that was trained alone on them into the network; returns its epoch.

    Raises:
        ResourceError: A file is missing or damaged.
    """
    load_weights(folder / START, network)
    load_weights(folder / PROBE, network)
    with _open(folder / PROBE) as file:
        return int(file.metadata()["epoch"])


def load_end(folder: Path, network: StagedNetwork) -> None:
    """Copies a run's last model into the network, whether it is its best or not; averaged where that is the model.

    Raises:
        ResourceError: A file is missing or damaged.
    """
    load_weights(folder / START, network)
    load_weights(folder / LAST, network)
    live, standard = live_weights(network, 0), load_standard(folder / LAST)
    with torch.no_grad():
        for name, value in load_average(folder / LAST).items():
            live[name].copy_(value)
    if standard is not None:
        fold_standard(network, standard)


def load_best(folder: Path, network: StagedNetwork, *, head: bool = True) -> bool:
    """Copies a run's best model into the network, as :func:`load_weights` does; False before the first epoch is done.

    Raises:
        ResourceError: A file is missing or damaged.
    """
    while (position := read_position(folder / LAST)) and position.best_file:
        try:
            load_weights(folder / START, network, head=head)
            load_weights(folder / position.best_file, network, head=head)
            return True
        except ResourceError:
            # A run under way may have found a better one and dropped this one in between.
            if read_position(folder / LAST) == position:
                raise
    return False


def model_id(folder: Path) -> str | None:
    """Tells a run's best model from those that it had before; None before the first epoch is done.

    Raises:
        ResourceError: The checkpoint is damaged.
    """
    position = read_position(folder / LAST)
    if position is None or position.best_file is None:
        return None
    path = folder / position.best_file
    size = path.stat().st_size if path.is_file() else 0
    best = [position.best_epoch, position.best_accuracy, position.best_loss, position.soup]
    return json.dumps([position.best_file, size, *best])


def remove_stale(folder: Path, position: Position) -> None:
    """Removes best checkpoints that the position no longer names."""
    kept = position.kept_files
    for path in folder.glob("best-*.safetensors"):
        if path.name not in kept:
            path.unlink()


def _parameters(network: StagedNetwork, imitation: Imitation | None) -> dict[str, nn.Parameter]:
    of_imitation = imitation.named_parameters(_IMITATION.rstrip(".")) if imitation is not None else ()
    return dict([*network.net.named_parameters(), *of_imitation])


def _tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, by the rest of their names; copied, or the file would stay mapped."""
    with _open(path) as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name).clone() for name in names}


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        write_tensors(path, plain, metadata)
    except OSError as error:
        raise ResourceError(
            f"The checkpoint {path} could not be written: {error.strerror or error}.",
            remedy="Free some space or choose another folder for runs, then resume the run; nothing older is lost.",
        ) from error


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ResourceError(
            f"The checkpoint {path} cannot be read: {error}.",
            remedy="Start the run again with the command that the Runs tab shows.",
        ) from error
