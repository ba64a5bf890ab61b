"""Serves a model with other limits than usual: of the server as JSON, and of open files."""

import argparse
import json
import resource

from modiste.serving.serve import serve
from modiste.serving.settings import Limits, ServerSettings

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("--port", type=int)
parser.add_argument("--limits", type=json.loads, default={})
parser.add_argument("--files", type=int)
chosen = parser.parse_args()
if chosen.files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (chosen.files, chosen.files))
limits = Limits(**chosen.limits)
serve(chosen.source, ServerSettings(port=chosen.port), limits=limits, say=lambda text: print(text, flush=True))
