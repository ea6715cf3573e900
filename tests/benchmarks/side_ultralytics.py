"""Ultralytics' classification trainer on a torchvision backbone, frozen, with random weights and its defaults.

The head is its own (a 1x1 convolution and a linear layer); only plots, which may ask for a download, are off.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from ultralytics.models.yolo.classify import ClassificationTrainer

# Channels that reach the head, and layers of torchvision's network behind them that are left out.
_CHANNELS = {"resnet18": 512, "mobilenet_v3_small": 576}
_ACCURACY = "metrics/accuracy_top1"
_YAML = """\
nc: 1000
backbone:
  - [-1, 1, TorchVision, [{channels}, {backbone}, null, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--backbone", choices=tuple(_CHANNELS), required=True)
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / f"{args.backbone}-cls.yaml"
        model.write_text(_YAML.format(channels=_CHANNELS[args.backbone], backbone=args.backbone))
        trainer = ClassificationTrainer(
            overrides={
                "model": str(model),
                "data": args.data,
                "epochs": args.epochs,
                "freeze": 1,
                "pretrained": False,
                "plots": False,
                "project": folder,
            }
        )
        starts, ends, accuracies = [], [], []
        trainer.add_callback("on_train_epoch_start", lambda _: starts.append(time.perf_counter()))
        trainer.add_callback("on_fit_epoch_end", lambda _: ends.append(time.perf_counter()))
        trainer.add_callback("on_fit_epoch_end", lambda it: accuracies.append(it.metrics[_ACCURACY]))
        trainer.train()
    # It evaluates its best weights once more at the end, which counts as no epoch.
    seconds = [end - start for start, end in zip(starts, ends, strict=False)]
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    print()
    print(
        json.dumps(
            {"val_accuracy": max(accuracies), "epoch_seconds": seconds, "trainable_parameters": trained}
        )
    )


if __name__ == "__main__":
    main()
