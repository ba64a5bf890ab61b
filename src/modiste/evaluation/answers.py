"""All that a finished network says of images, in one pass: the predictor's answers, and what an exported file holds."""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.evaluation.inference import answer
from modiste.evaluation.novelty import Novelty
from modiste.evaluation.watching import watched


class Answers(nn.Module):
    """Logits, probabilities and, where it can be told, novelty of images of bytes.

    Args:
        model: takes images in [0, 1].
        mirror: whether the logits of each image and of its mirror image are averaged.
        temperature: above 1 makes probabilities more cautious.
        novelty: what tells images of none of the classes; the third output is left out without it.
    """

    def __init__(self, model: nn.Module, *, mirror: bool, temperature: float, novelty: Novelty | None = None) -> None:
        super().__init__()
        self.model, self.mirror, self.temperature, self.novelty = model, mirror, temperature, novelty

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n *k"], ...]:
        if self.novelty is None:
            logits = answer(self.model, as_floats(images), mirror=self.mirror)
            return logits, (logits / self.temperature).softmax(1)
        with watched(self.model) as seen:
            logits = answer(self.model, as_floats(images), mirror=self.mirror)
        return logits, (logits / self.temperature).softmax(1), self.novelty.scores(seen)
