"""A soup at the end of a run: the greedy mean of its best epochs, which becomes its model when validation gains by it.

Source: Wortsman et al. 2022, "Model soups" (arXiv:2203.05482), recipe 1 (greedy soup); there of several runs, here of
epochs of one. BatchNorm's running averages are averaged as weights are, also where they adapt to the photos: computing
them anew would take a pass over the training photos for each candidate, and a mean that they do not fit is measured
like any other and left out. Knows nothing of optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from tl_app import words
from tl_app.backbones.staged import split
from tl_app.data.augment import Augmentation
from tl_app.engine import checkpoints
from tl_app.engine.checkpoints import START, best_name
from tl_app.engine.epoch import Training, save
from tl_app.engine.evaluate import Evaluation, evaluate, to_input
from tl_app.engine.inputs import Inputs, Sampling, from_photos, logits_of
from tl_app.events import Combined, Event, Notice, Progress
from tl_app.transfer.averages import mean_with

Weights = dict[str, Tensor]


def make_soup(training: Training) -> Generator[Event, None, bool]:
    """Averages the kept epochs, best first, leaving out those by which validation gets worse; saves what came of it.

    The accuracy that a soup is known by afterwards was its reason to be chosen, so it is a little optimistic, as that
    of the best epoch is: photos that had no part in training and choice tell more.

    Args:
        training: After its last step; its inputs are those of the last phase. Its network is as before at the end.

    Returns:
        False when it was stopped; nothing is changed then, and the next try begins anew.
    """
    position = training.position
    others = [epoch for epoch, *_ in position.ingredients if epoch != position.best_epoch]
    if others:
        epochs, soup = position.soup or [position.best_epoch], _read(training, position.best_file)
        alone = best = _measured(training, soup)
        for number, epoch in enumerate(others):
            yield Progress("averaging the best epochs", number, len(others), "epochs")
            mean = mean_with(soup, _read(training, best_name(epoch)), len(epochs))
            result = _measured(training, mean)
            if alone is None or best is None or result is None:
                return False
            if (result.accuracy, -result.loss) >= (best.accuracy, -best.loss):
                epochs, soup, best = [*epochs, epoch], mean, result
        assert alone is not None and best is not None
        yield Notice(_outcome(epochs, len(others), alone, best))
        if best is not alone:
            position.soup, position.best_accuracy, position.best_loss = epochs, best.accuracy, best.loss
            assert position.best_file is not None
            training.unsaved[position.best_file] = soup
    if position.ingredients:
        position.ingredients = []
        yield save(training)
    if position.soup:
        yield Combined(_named(position.soup), position.epoch, position.best_accuracy, position.best_loss)
    return True


def _read(training: Training, name: str | None) -> Weights:
    """All that was ever trained, as it was in one of the run's files."""
    assert name is not None
    wanted = checkpoints.weights(training.network, training.position.depth)
    found = checkpoints.read_weights(training.folder / START) | checkpoints.read_weights(
        training.folder / name
    )
    return {key: found[key] for key in wanted}


def _measured(training: Training, weights: Weights) -> Evaluation | None:
    """Validation of a model; None when it was stopped."""
    inputs, classify = _evaluation_of(training)
    live = checkpoints.weights(training.network, training.position.depth)
    before = {name: tensor.clone() for name, tensor in live.items()}
    training.network.eval()
    try:
        _fill(live, weights)
        return evaluate(classify, inputs.val(), device=training.device, stop=training.stop)
    finally:
        _fill(live, before)


def _evaluation_of(training: Training) -> tuple[Inputs, Callable[[Tensor], Tensor]]:
    """Validation photos, or what the stages that no phase ever trained make of them, and the rest of the network."""
    depth, device = training.position.depth, training.device
    inputs = training.inputs
    assert inputs is not None
    if (
        training.phases[training.position.phase].frozen_stages != depth
    ):  # earlier phases moved what is frozen now
        depth, preprocessing = 0, training.photos.store.preprocessing
        sampling = Sampling(training.batch_size, Augmentation("none"), training.config.seed, views=range(1))
        inputs = from_photos(
            training.photos, sampling, lambda images: to_input(images, preprocessing, device)
        )
    _, suffix = split(training.network, depth)
    return inputs, logits_of(inputs, suffix, device, training.precision)


def _fill(live: Weights, values: Weights) -> None:
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(values[name])


def _named(epochs: list[int]) -> str:
    return f"soup of epochs {', '.join(map(str, epochs[:-1]))} and {epochs[-1]}"


def _outcome(epochs: list[int], others: int, alone: Evaluation, best: Evaluation) -> str:
    photos = words.plural(len(alone.labels), "validation photo")
    if best is alone:
        return (
            f"The soup is epoch {epochs[0]} alone: averaged with any of {words.plural(others, 'other good epoch')}, "
            f"fewer of {photos} were right, or the loss was larger."
        )
    return (
        f"The model is a {_named(epochs)}: {words.percent(best.accuracy)} of {photos} right and loss {best.loss:.3f}, "
        f"against {words.percent(alone.accuracy)} and {alone.loss:.3f} before. They were also what it was chosen by."
    )
