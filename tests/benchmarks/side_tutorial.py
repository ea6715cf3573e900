"""The training loop of PyTorch's tutorial "Transfer Learning for Computer Vision", with random weights.

Its steps in its order: RandomResizedCrop and flip, batches of 4 from 4 loader processes, SGD with momentum, the rate
divided by ten every 7 epochs, training and validation in each epoch, statistics read after each step, the best
weights saved to a file. What is left out costs it nothing: showing photos. ``--train`` says what learns: the last
layer (the tutorial's ``model_conv``), everything (``model_ft``), or that layer and the parameters that begin with one
of ``--unfrozen``.

https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
"""

import argparse
import json
import os
import time
from tempfile import TemporaryDirectory

import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torchvision import datasets, models, transforms

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_TRANSFORMS = {
    "train": transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    ),
}


def train_model(model, loaders, sizes, criterion, optimizer, scheduler, epochs, device):
    """Trains and returns the model with its best weights, its best accuracy, and seconds per epoch."""
    epoch_seconds = []
    with TemporaryDirectory() as folder:
        best_path = os.path.join(folder, "best_model_params.pt")
        torch.save(model.state_dict(), best_path)
        best_accuracy = 0.0
        for epoch in range(epochs):
            start = time.perf_counter()
            for phase in ("train", "val"):
                model.train(phase == "train")
                running_loss, running_corrects = 0.0, 0
                for inputs, labels in loaders[phase]:
                    inputs = inputs.to(device)
                    labels = labels.to(device)
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        outputs = model(inputs)
                        _, predictions = torch.max(outputs, 1)
                        loss = criterion(outputs, labels)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                    running_loss += loss.item() * inputs.size(0)
                    running_corrects += torch.sum(predictions == labels.data)
                if phase == "train":
                    scheduler.step()
                loss_mean = running_loss / sizes[phase]
                accuracy = running_corrects.double() / sizes[phase]
                print(f"{epoch} {phase} loss {loss_mean:.4f} accuracy {accuracy:.4f}", flush=True)
                if phase == "val" and accuracy > best_accuracy:
                    best_accuracy = accuracy
                    torch.save(model.state_dict(), best_path)
            epoch_seconds.append(time.perf_counter() - start)
        model.load_state_dict(torch.load(best_path, weights_only=True))
    return model, float(best_accuracy), epoch_seconds


def replace_last_layer(model, classes):
    """Puts a fresh linear layer in place of the last one; returns it."""
    name, old = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)][-1]
    parent, _, leaf = name.rpartition(".")
    new = nn.Linear(old.in_features, classes)
    setattr(model.get_submodule(parent), leaf, new)
    return new


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--train", choices=("head", "part", "all"), required=True)
    parser.add_argument("--unfrozen", nargs="*", default=[])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()

    sets = {x: datasets.ImageFolder(os.path.join(args.data, x), _TRANSFORMS[x]) for x in ("train", "val")}
    loaders = {
        x: torch.utils.data.DataLoader(sets[x], args.batch, shuffle=True, num_workers=args.workers)
        for x in sets
    }
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    model = models.get_model(args.backbone, weights=None)
    if args.train != "all":
        for name, parameter in model.named_parameters():
            parameter.requires_grad = bool(args.unfrozen) and name.startswith(tuple(args.unfrozen))
    replace_last_layer(model, len(sets["train"].classes))
    model = model.to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.SGD(trainable, lr=0.001, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    sizes = {x: len(sets[x]) for x in sets}
    _, accuracy, seconds = train_model(
        model, loaders, sizes, nn.CrossEntropyLoss(), optimizer, scheduler, args.epochs, device
    )
    trained = sum(parameter.numel() for parameter in trainable)
    print(json.dumps({"val_accuracy": accuracy, "epoch_seconds": seconds, "trainable_parameters": trained}))


if __name__ == "__main__":
    main()
