"""Keypoints on maps whose bright spot is known."""

import pytest
import torch

from modiste.models.fashionnet import Keypoints


def test_a_keypoint_lands_on_a_bright_spot():
    finder = Keypoints(1, 1)
    finder.score.weight.data.fill_(50.0)
    maps = torch.zeros(1, 1, 7, 7)
    maps[0, 0, 1, 5] = 1.0
    row, column = finder.locate(maps)[0, 0].tolist()
    assert (row, column) == (pytest.approx(-2 / 3, abs=0.01), pytest.approx(2 / 3, abs=0.01))
