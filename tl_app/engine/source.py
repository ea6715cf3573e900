"""The source of a training: published, bundled or own weights that a network starts from, and where those come from.

Knows nothing of epochs, or of how the target model is trained from there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tl_app import runs
from tl_app.backbones import weight_files
from tl_app.backbones import weights as pretrained
from tl_app.backbones.catalogue import WeightChoice, find_weights, get_backbone
from tl_app.backbones.endings import keeps_hidden
from tl_app.backbones.staged import StagedNetwork
from tl_app.config import AUTO, TrainConfig
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import checkpoints
from tl_app.engine.background import with_progress
from tl_app.errors import UsageError
from tl_app.events import Event, Notice
from tl_app.references import BACKBONE_PREFIX, FILE_PREFIX, RUN_PREFIX
from tl_app.runs import RunInfo
from tl_app.transfer.heads import LINEAR, Head, build, ending_for, head_of, plainest


@dataclass(frozen=True)
class Source:
    """Weights to start from.

    Attributes:
        backbone: What they fit.
        name: Of the weights: torchvision's, or ``run:`` with the run's folder.
        preprocessing: What they were made for.
        lineage: The tasks that they come from, oldest first.
        classes: Outputs of their own head; None for the published number.
        head: Of their own.
        choice: When they are published or bundled ones.
        run: When they are a run's.
        file: When they are a file's.
    """

    backbone: str
    name: str
    preprocessing: Preprocessing
    lineage: tuple[str, ...]
    classes: int | None = None
    head: Head = LINEAR
    choice: WeightChoice | None = None
    run: Path | None = None
    file: Path | None = None

    @property
    def is_on_disk(self) -> bool:
        """Whether no network is needed."""
        return self.choice is None or pretrained.is_on_disk(self.choice)

    def network(self, image_size: int) -> StagedNetwork:
        """A network that the weights can be loaded into, with random ones."""
        return build(self.backbone, self.head, num_classes=self.classes, image_size=image_size)

    def check_head(self, head: Head) -> None:
        """Whether a target model can have that head on these weights.

        Raises:
            UsageError: It sits behind layers that they have no values for.
        """
        wanted = ending_for(head, self.backbone)
        if keeps_hidden(wanted) and plainest(self.head, self.backbone).kind != "linear":
            raise UsageError(
                f"The run '{Path(str(self.run)).name}' has an mlp head in place of the last layers of {self.backbone}, "
                f"which a {head.kind} head needs.",
                remedy="Choose head 'mlp', or other weights.",
            )

    def check_answers(self, classes: Sequence[str], image_size: int) -> None:
        """Whether the network answers with these classes, for photos of that size.

        Raises:
            UsageError: It does not.
        """
        if self.run is None:
            raise UsageError(
                f"{self.backbone} with its published weights answers with the classes of its source task.",
                "Answers are imitated of a run on the same photos.",
                "Name such a teacher, run:NAME, or imitate features alone (--soft-labels 0).",
            )
        info = runs.open_run(self.run, Path())
        if head_of(info.config).fusion is not None:
            raise UsageError(
                f"The head of run '{info.name}' reads fused features, and its answers cannot be imitated yet.",
                remedy="Choose a teacher without fused stages and without a second backbone.",
            )
        if list(info.classes) != list(classes):
            raise UsageError(
                f"Run '{info.name}' answers with other classes ({_some(info.classes)}) than your photos have "
                f"({_some(classes)}).",
                "The answers of a teacher are imitated where both are the same.",
                "Choose the photos that it was trained on, or another teacher.",
            )
        if self.preprocessing.crop != image_size:
            raise UsageError(
                f"Run '{info.name}' answers for photos of {self.preprocessing.crop} pixels, not of {image_size}.",
                remedy=f"Set the image size to {self.preprocessing.crop}.",
            )

    def load(self, network: StagedNetwork, *, head: bool = False) -> list[Notice]:
        """Fills a network that :meth:`network` built; returns what to know of the weights.

        Without ``head`` that of a run stays random: it is for other classes, or for photos of another size, or reads
        the features of a second network too, which is left behind.

        Raises:
            ResourceError: The file is damaged.
            UsageError: The run has no model any more, or the file does not fit.
        """
        notices: list[Notice] = []
        if self.choice is not None:
            pretrained.load_pretrained(network, self.choice, on_notice=notices.append)
        elif self.file is not None:
            pretrained.load_own(network, self.file)
        elif self.run is None or not checkpoints.load_best(self.run / "checkpoints", network, head=head):
            raise UsageError(f"There is no model in {self.run}.", remedy="Choose another run to start from.")
        return notices


def source_of(config: TrainConfig) -> Source | None:
    """What the settings start from; None for random weights.

    Raises:
        UsageError: There are no such weights, or they belong to another backbone.
    """
    if config.is_random:
        return None
    if config.weights.startswith(FILE_PREFIX):
        return _of_file(config.backbone, config.weights)
    if not config.weights.startswith(RUN_PREFIX):
        return _published(config.backbone, config.weights)
    found = _of_run(config.weights)
    if config.backbone not in (AUTO, found.backbone):
        raise UsageError(
            f"The run '{Path(str(found.run)).name}' holds weights of {found.backbone}, not of {config.backbone}.",
            remedy=f"Choose backbone {found.backbone}, or other weights.",
        )
    return found


def beside_of(config: TrainConfig, first: Source | None) -> Source | None:
    """The second backbone that the settings fuse with the first, with its recommended weights; None without one.

    Args:
        config: The settings.
        first: What :func:`source_of` says of them.

    Raises:
        UsageError: There is no such backbone, or it is the first one with the same weights.
    """
    if not config.fuse_backbone:
        return None
    found = _published(config.fuse_backbone, "default")
    assert found is not None
    if first is not None and (first.backbone, first.name) == (found.backbone, found.name):
        raise UsageError(
            f"The second backbone is {found.backbone} with weights {found.name}, and so is the first.",
            "Its features would be the same once more.",
            "Choose another second backbone, or leave it out.",
        )
    return found


def named(text: str) -> Source:
    """The network that ``backbone:NAME``, ``backbone:NAME:WEIGHTS`` or ``run:NAME`` names.

    Raises:
        UsageError: It is neither, or there is no such network.
    """
    if text.startswith(RUN_PREFIX):
        return _of_run(text)
    if text.startswith(BACKBONE_PREFIX):
        backbone, _, weights = text.removeprefix(BACKBONE_PREFIX).partition(":")
        found = _published(backbone, weights or "default")
        if found is not None:
            return found
    raise UsageError(
        f"'{text}' names no network with weights.",
        "Allowed: backbone:NAME, backbone:NAME:WEIGHTS, run:NAME.",
    )


def fetched(source: Source, stop: Callable[[], bool]) -> Generator[Event, None, None]:
    """Brings the weights to disk, if they are not there.

    Raises:
        ResourceError: They cannot be fetched.
        Interrupted: ``stop`` said so.
    """
    choice = source.choice
    if choice is not None and not source.is_on_disk:
        yield from with_progress(
            f"downloading {source.backbone} weights",
            "bytes",
            lambda report: pretrained.download(choice, on_progress=report, should_stop=stop),
        )


def _published(backbone: str, weights: str) -> Source | None:
    choice = find_weights(get_backbone(backbone), weights)
    if choice is None:
        return None
    return Source(choice.backbone, choice.name, choice.preprocessing, choice.lineage, choice=choice)


def _of_file(backbone: str, text: str) -> Source:
    """Weights of one's own; what they were made for is not in the file, so photos are prepared as for the best."""
    path, spec = Path(text.removeprefix(FILE_PREFIX)), get_backbone(backbone)
    weight_files.check(path)
    return Source(backbone, text, spec.default_weights.preprocessing, (path.name,), file=path)


def _of_run(text: str) -> Source:
    info: RunInfo = runs.open_run(text.removeprefix(RUN_PREFIX), Path())
    if not info.best_epoch:
        raise UsageError(
            f"Run '{info.name}' has no finished epoch yet, so there are no weights to start from.",
            remedy="Let it train for at least one epoch, or choose other weights.",
        )
    head = head_of(info.config)
    if head.fusion is not None and not info.moved_stages:
        raise UsageError(
            f"Run '{info.name}' trained a head on fused features, so its stages are those that it started from.",
            remedy=f"Choose backbone {info.config.backbone} and weights '{info.config.weights}' instead.",
        )
    return Source(
        backbone=info.config.backbone,
        name=f"{RUN_PREFIX}{info.path}",
        preprocessing=Preprocessing.from_dict(info.preprocessing),
        lineage=info.lineage,
        classes=len(info.classes),
        head=head if head.fusion is None else LINEAR,  # on the first network, which is all that is taken over
        run=info.path,
    )


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
