"""SIGKILL at random moments, again and again: the finished run is byte for byte the one that nobody disturbed.

Half of the moments are drawn from the processor time that a whole run takes, over loading, training, evaluation and
saving as they come; the other half from its operations on files, which are moments of saving alone.
"""

import json
import random
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from run_equality import LONG, assert_same, words_for

from fault_counter import Faults
from fork_server import COMMAND, Disk, Ended, ForkServer
from modiste.recipes.plain import to_plain
from modiste.runs import run_folder

WAYS_TO_DIE = ("die before", "die after", "die halfway", "power cut")


@dataclass
class Victim:
    """One run, begun by the same command whenever it was killed."""

    fork_server: ForkServer
    words: list[str]
    run: Path
    seconds: float = 0.0
    """Of processor time that the whole command takes."""
    operations: int = 0

    def measure(self) -> None:
        ended = self.go_on(Disk(self.run))
        assert ended.code == 0, ended.said
        self.seconds, self.operations = ended.seconds, len(self.fork_server.operations())

    def go_on(self, disk: Disk | None = None) -> Ended:
        return self.fork_server.run(COMMAND, self.words, disk=disk)

    def killed_while_saving(self, draw: random.Random) -> Ended:
        return self.go_on(Disk(self.run, draw.randint(1, self.operations), draw.choice(WAYS_TO_DIE)))

    def killed_at_some_moment(self, draw: random.Random, share: float = 1.0) -> Ended:
        child = self.fork_server.start(COMMAND, self.words)
        self.fork_server.kill_after(child, draw.uniform(0, share * self.seconds))
        return self.fork_server.wait()


@pytest.fixture(scope="module")
def calm(fork_server: ForkServer, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """A run that is left in peace."""
    folder = tmp_path_factory.mktemp("calm")
    recipe, run = folder / "recipe.json", folder / "run"
    recipe.write_text(json.dumps(to_plain(replace(LONG, epochs=3, batch_size=20))))
    victim = Victim(fork_server, words_for(recipe, tiny_folder, run), run)
    victim.measure()
    return victim


@pytest.fixture
def victim(calm: Victim, memory_path: Path) -> Victim:
    """Another run of the same."""
    words = [str(memory_path / "run") if word == str(calm.run) else word for word in calm.words]
    return replace(calm, words=words, run=memory_path / "run")


def was_hit(ended: Ended) -> bool:
    """Whether the signal met a living process; if not, the run was done before."""
    assert ended.code in (-signal.SIGKILL, 0), ended.said
    assert not ended.said
    return ended.code != 0


def test_killed_anywhere_it_ends_as_if_nothing_had_been(victim: Victim, calm: Victim, faults: Faults) -> None:
    """Five kills, then the end; a run that is done before it is hit is compared and begun anew."""
    draw = random.Random(9)
    for _ in faults("resume: SIGKILL at a random moment", few=25, many=500, each=5):
        for number in range(5):
            kill = Victim.killed_while_saving if number % 2 else Victim.killed_at_some_moment
            while not was_hit(kill(victim, draw)):
                assert_same(victim.run, calm.run)
                shutil.rmtree(victim.run)
        assert victim.go_on().code == 0
        assert_same(victim.run, calm.run)
        shutil.rmtree(victim.run)


def test_twenty_kills_of_one_run_do_not_hinder_it(victim: Victim, calm: Victim, faults: Faults) -> None:
    draw = random.Random(20)
    for _ in faults("resume: SIGKILL, 20 times one run", few=20, many=400, each=20):
        hits = 0
        while hits < 20:
            if was_hit(victim.killed_at_some_moment(draw, share=0.3)):
                hits += 1
            else:
                hits = 0
                shutil.rmtree(victim.run)
        assert victim.go_on().code == 0
        assert_same(victim.run, calm.run)
        shutil.rmtree(victim.run)


def test_an_evaluation_killed_anywhere_is_made_good_by_the_next(
    fork_server: ForkServer, finished_run: Path, tiny_folder: Path, memory_path: Path, faults: Faults
) -> None:
    """The logits of the test set are those of an evaluation left in peace, and the manifest vouches for them."""
    calm, run = (Path(shutil.copytree(finished_run, memory_path / name)) for name in ("calm", "run"))
    words = ["evaluate", "--split", "test", "--data-folder", str(tiny_folder), "--device", "cpu", "--json"]
    peaceful = Victim(fork_server, [*words, str(calm)], calm)
    peaceful.measure()
    victim = replace(peaceful, words=[*words, str(run)], run=run)
    draw = random.Random(13)
    for number in faults("resume: SIGKILL in evaluation", few=12, many=200):
        kill = Victim.killed_while_saving if number % 2 else Victim.killed_at_some_moment
        while kill(victim, draw).code != -signal.SIGKILL:
            shutil.rmtree(run)
            shutil.copytree(finished_run, run)
        ended = victim.go_on()
        assert ended.code == 0, ended.said
        assert (run / "test-logits.safetensors").read_bytes() == (calm / "test-logits.safetensors").read_bytes()
        assert run_folder.is_listed(run_folder.open_run(run), "test-logits.safetensors")
        assert not list(run.rglob(".*.part"))
        shutil.rmtree(run)
        shutil.copytree(finished_run, run)
