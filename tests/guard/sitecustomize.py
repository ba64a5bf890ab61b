"""No process of the tests connects to another machine: whoever tries is refused, and noted.

Python imports this by its name at the start of every process that has its folder on PYTHONPATH.
"""

import os
import sys

NOTES = "MODISTE_OUTSIDE"
KNOWN = "169.254.169.254"
"""Ray asks its machine's cloud, if there is one, for its name, though its statistics are off; refused, but no fault."""


def is_outside(address: object) -> bool:
    """Tell whether an address is another machine's; those of the file system are not."""
    from ipaddress import ip_address

    if not isinstance(address, tuple):
        return False
    host = str(address[0]).partition("%")[0]
    try:
        return not (ip_address(host).is_loopback or ip_address(host).is_unspecified)
    except ValueError:
        return host not in ("localhost", "")


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse to connect elsewhere; a datagram socket that only asks for its own address sends nothing."""
    if event not in ("socket.connect", "socket.sendto"):
        return
    connection, address = arguments[:2]
    if not is_outside(address) or (event == "socket.connect" and int(connection.type) != 1):  # type: ignore[attr-defined]
        return
    told = f"{event} {address} by {' '.join(sys.orig_argv)[:300]}"
    if NOTES in os.environ and address[0] != KNOWN:  # type: ignore[index]
        with open(os.environ[NOTES], "a", encoding="utf-8") as notes:  # noqa: PTH123  (what is imported here, every process pays for)
            notes.write(told + "\n")
    raise PermissionError(f"the tests connect to no other machine: {told}")


sys.addaudithook(refuse)
