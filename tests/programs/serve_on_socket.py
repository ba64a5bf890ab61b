"""Serves on a socket that is open already, as systemd starts a server. Arguments: its number, and those of serve."""

import os
import sys

os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "modiste", "serve", *sys.argv[2:]])
