"""The command where some packages cannot be imported. Arguments: their names with commas between, and the command's."""

import sys

missing = sys.argv[1].split(",")
assert not set(missing) & set(sys.modules), "imported before this program could forbid it"
sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # here, and in workers

from modiste.cli.main import main  # noqa: E402 - not before

if __name__ == "__main__":
    main(sys.argv[2:])
