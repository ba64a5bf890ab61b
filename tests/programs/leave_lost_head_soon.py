"""The real command, to which a Ray cluster's head counts as lost after three seconds without an answer."""

from modiste.cli.main import main
from modiste.searches import ray_connection

if __name__ == "__main__":
    ray_connection.LOST_SECONDS = 3.0
    main()
