"""``python -m modiste`` is the command ``modiste``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # Python puts the working directory there, in which a stranger's files may lie

    from modiste.cli.main import main

    main()
