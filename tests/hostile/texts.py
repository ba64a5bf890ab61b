"""Recipes, spaces and searches that name code, paths and addresses, or are no sane data."""

import json
from pathlib import Path

from hostile_cases import Shelf

from modiste.recipes import recipe
from modiste.runs import storage

DEPTH = 10_000
RECIPES: dict[str, object] = {
    "a class for a network": {"name": "x", "model": {"kind": "os.system"}},
    "a module for a network": {"name": "x", "model": {"kind": "modiste_burglar:enter"}},
    "a path for a network": {"name": "x", "model": {"kind": "../../evil.py"}},
    "a list for a network's kind": {"name": "x", "model": {"kind": ["cnn"]}},
    "no kind": {"name": "x", "model": {"filters": [1]}},
    "a class to make": {"_target_": "os.system", "name": "x"},
    "an object of Python's": {"py/object": "os.system", "name": "x"},
    "a reduction": {"__reduce__": ["os.system", ["touch mark"]], "name": "x"},
    "a field of every object": {"name": "x", "__class__": "evil"},
    "a method for a field": {"name": "x", "check": "evil"},
    "a callable for an optimizer": {"name": "x", "optimizer": {"name": "torch.optim.SGD"}},
    "a lambda for a schedule": {"name": "x", "schedule": {"shape": "lambda: __import__('os')"}},
    "a path for an objective": {"name": "x", "objective": "/tmp/loss.py"},
    "a path for a name": {"name": "../../x"},
    "an absolute name": {"name": "/etc/cron.d/x"},
    "a hidden name": {"name": ".bashrc"},
    "a name with a null": {"name": "x\0y"},
    "a name with lines": {"name": "x\ny"},
    "a name with colours": {"name": "\x1b[31mx"},
    "no name": {"name": ""},
    "many letters": {"name": "x/" * 30_000},
    "lines and colours in a field": {"name": "x", "a\nb\x1b[2J": 1},
    "a path for a source of weights": {"name": "x", "transfer": {"source": "/etc/passwd"}},
    "an address for a source of weights": {"name": "x", "transfer": {"source": "https://example.org/w"}},
    "a name on a hub for a source of weights": {"name": "x", "transfer": {"source": "hub:someone/net"}},
    "a path for a teacher": {"name": "x", "distillation": {"teachers": ["/etc/passwd"]}},
    "a rule that is none": {"name": "x", "transfer": {"rename": ["a=b=c"]}},
    "a list for a number": {"name": "x", "epochs": [1]},
    "truth for a number": {"name": "x", "epochs": True},
    "a fraction of epochs": {"name": "x", "epochs": 1.5},
    "no epochs": {"name": "x", "epochs": -1},
    "a word for a number": {"name": "x", "optimizer": {"learning_rate": "1e-3"}},
    "no number": {"name": "x", "optimizer": {"learning_rate": float("nan")}},
    "an endless number": {"name": "x", "optimizer": {"learning_rate": float("inf")}},
    "too large a number": {"name": "x", "optimizer": {"learning_rate": 10**400}},
    "a batch of none": {"name": "x", "batch_size": 0},
    "a number for a part": {"name": "x", "data": 7},
    "a list": [{"name": "x"}],
    "nothing": None,
    "a word": "x",
}
TORN = {
    "too long": '{"name": "x"}' + " " * recipe.MOST_BYTES,
    "empty": "",
    "endless lists": "[" * DEPTH,
    "endless tables": '{"a":' * DEPTH,
    "a number of ten thousand digits": '{"name": "x", "epochs": ' + "9" * 10_000 + "}",
    "no end": '{"name": "x"',
    "half a letter": '{"name": "\\ud800"}',
    "a script": "#!/bin/sh\ntouch mark\n",
    "YAML": "!!python/object/apply:os.system ['touch mark']",
    "TOML for JSON": 'name = "x"',
}
TOML = {
    "endless lists": "a = " + "[" * DEPTH,
    "endless tables": "[" + "a." * DEPTH + "b]",
    "a name twice": 'name = "x"\nname = "y"',
    "a date for a name": "name = 1979-05-27",
    "an include": '#include "/etc/passwd"\nname = "../x"',
    "a class for a network": 'name = "x"\n[model]\nkind = "os.system"',
    "no number": 'name = "x"\n[optimizer]\nlearning_rate = nan',
}
PLACES = (
    "https://example.org/data",
    "file:///etc",
    "hub:someone/data",
    "//server/share",
    "|touch mark",
    "$(touch mark)",
    "/proc/self/mem",
    "no/such/folder",
    "x\0y",
)
SPACES: dict[str, object] = {
    "code for a kind": {"epochs": "__import__(1,2)"},
    "code for a value": {"epochs": "choice(__import__('os').system('touch mark'))"},
    "a class for a network": {"model.kind": "choice(os.system)"},
    "a path for a name": {"name": "choice(../x,/etc/x)"},
    "endless brackets": {"epochs": "choice(" + "[" * DEPTH + ")"},
    "an endless number": {"optimizer.learning_rate": "uniform(0,1e999)"},
    "no number": {"optimizer.learning_rate": "choice(NaN,1)"},
    "a number for a text": {"epochs": 5},
    "a list": ["epochs=integer(1,2)"],
    "nothing": {},
    "a field of every object": {"__class__": "choice(1,2)"},
    "a number of ten thousand digits": {"epochs": "integer(1," + "9" * 10_000 + ")"},
}
SEARCHES: dict[str, tuple[object, object]] = {
    "no plan": ([], {}),
    "a class for a recipe": ({"recipe": {"kind": "os.system"}, "space": ["a=b"]}, {}),
    "a plan without a space": ({"recipe": {"name": "x"}, "space": []}, {}),
    "code for a sampler": ({"recipe": {"name": "x"}, "space": ["epochs=integer(1,2)"], "sampler": "os.system"}, {}),
    "an outcome that is a list": (None, []),
    "an outcome without a curve": (None, {"number": 0}),
    "an outcome of other fields": (None, {"number": 0, "curve": [], "__class__": "os.system"}),
    "a number for a curve": (None, {"number": 0, "values": {}, "state": "failed", "accuracy": None, "curve": 3}),
}


def add(shelf: Shelf) -> None:
    for name, plain in RECIPES.items():
        shelf.file(name, "recipe", "given.json", json.dumps(plain))
    for name, text in TORN.items():
        shelf.file(name, "recipe", "given.json", text)
    for name, text in TOML.items():
        shelf.file(name, "recipe", "given.toml", text)
    for place in PLACES:
        shelf.file(f"data at {place!r}", "trained", "given.json", json.dumps({"name": "x", "data": {"source": place}}))
    for name, space in SPACES.items():
        shelf.file(name, "space", "given.json", json.dumps(space))
    for name, (plan, outcome) in SEARCHES.items():
        shelf.folder_of(name, "search", lambda place, plan=plan, outcome=outcome: _search(place, plan, outcome))


def _search(place: Path, plan: object, outcome: object) -> None:
    (place / "outcomes").mkdir(parents=True)
    sane = {"recipe": {"name": "x"}, "space": ["epochs=integer(1,2)"]}
    (place / "search.json").write_text(json.dumps(sane if plan is None else plan))
    if isinstance(outcome, dict):
        storage.write_hashed_json(place / "outcomes/0000.json", outcome)
    else:
        (place / "outcomes/0000.json").write_text(json.dumps(outcome))
