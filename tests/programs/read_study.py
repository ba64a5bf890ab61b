"""Prints the values of all trials of a study, as Optuna reads them. Arguments: the database's address, the name."""

import json
import sys

import optuna

address = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")
study = optuna.load_study(study_name=sys.argv[2], storage=address)
print(json.dumps([trial.value for trial in study.trials]))
