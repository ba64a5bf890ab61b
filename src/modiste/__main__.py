"""``python -m modiste`` is the command ``modiste``."""

from modiste.cli import main

if __name__ == "__main__":
    main()
