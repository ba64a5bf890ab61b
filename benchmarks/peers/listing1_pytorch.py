"""The paper's Listing 1 in PyTorch in the style of its tutorials: a Dataset, a DataLoader, a loop."""

from argparse import Namespace
from typing import Any

import fashion_files
import numpy as np
import protocol
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class FashionImages(Dataset):
    """Images and labels, converted to tensors one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor(self.images[index], dtype=torch.float32).unsqueeze(0) / 255, int(self.labels[index])


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def train(options: Namespace) -> dict[str, Any]:
    torch.manual_seed(options.seed)
    files = fashion_files.load(options.data)
    images, labels = files["train-images"], files["train-labels"]
    count, end = options.images or fashion_files.TRAINING, fashion_files.TRAINING
    loader = DataLoader(FashionImages(images[:count], labels[:count]), batch_size=128, shuffle=True)
    held_out = DataLoader(FashionImages(images[end:], labels[end:]), batch_size=1000)
    test = DataLoader(FashionImages(files["t10k-images"], files["t10k-labels"]), batch_size=1000)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    epochs = protocol.Epochs()
    for _ in range(options.epochs):
        epochs.begin()
        train_epoch(model, loader, optimizer)
        epochs.end(lambda: accuracy(model, test))
    torch.save(model.state_dict(), options.model)
    return {"images": count, "validation_accuracy": accuracy(model, held_out), "epochs": epochs.rows, **versions()}


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for images, labels in loader:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    correct = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return correct / len(loader.dataset)


@torch.no_grad()
def predict(options: Namespace) -> dict[str, Any]:
    model = network()
    model.load_state_dict(torch.load(options.model, weights_only=True))
    model.eval()
    images = torch.tensor(fashion_files.load(options.data)["t10k-images"]).unsqueeze(1) / 255
    return {
        "batch_seconds": protocol.median_seconds(lambda: [model(part) for part in images.split(1000)], 5),
        "single_seconds": protocol.median_seconds(lambda: model(images[:1]), 50),
        **versions(),
    }


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


if __name__ == "__main__":
    protocol.run(train, predict)
