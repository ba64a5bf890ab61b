"""A Ray cluster of several nodes on this machine: a head without cores, then nodes of one core each.

python benchmarks/ray_nodes.py COUNT

Prints the cluster's address, kills a node for each line "kill one" of its input, starts another for "add one", and ends
when its input ends.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Keeper = subprocess.Popen[str]
SMALL = {"object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}


@contextmanager
def nodes(count: int, *before: str, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, Keeper]]:
    """Run a cluster of ``count`` nodes in its own process; yield its address and the process.

    Args:
        count: Number of nodes.
        before: A command that runs another command, put before that of the process.
        environment: Environment variables of the process.
    """
    with subprocess.Popen(
        [*before, sys.executable, __file__, str(count)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as keeper:
        assert keeper.stdout
        try:
            yield keeper.stdout.readline().strip(), keeper
        finally:
            keeper.communicate()


def order(keeper: Keeper, what: str) -> None:
    """Have a node killed or added, by ``kill one`` or ``add one``, and wait until it is."""
    assert keeper.stdin
    assert keeper.stdout
    keeper.stdin.write(f"{what}\n")
    keeper.stdin.flush()
    assert keeper.stdout.readline(), f"the cluster has ended, expected: {what}"


def main() -> None:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback, on Linux as well
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        os.environ["RAY_TMPDIR"] = folder  # no other command looks for a cluster here
        keep(int(sys.argv[1]))


def keep(count: int) -> None:
    """Start the nodes and obey the lines of the input."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | SMALL)
    nodes = [cluster.add_node(num_cpus=1, **SMALL) for _ in range(count)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill one":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("killed", flush=True)
        elif line.strip() == "add one":
            nodes.insert(0, cluster.add_node(num_cpus=1, **SMALL))  # the next to be killed is the older one
            print("added", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
