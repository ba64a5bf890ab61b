"""Write the README's table of results from ``records``: every figure there stands in a record first.

python benchmarks/readme_results.py [--check]
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDS = ("paper", "speed", "gpu", "systems")
"""Those that state test accuracies, in the order of the table."""
START, END = "<!-- results: written by benchmarks/readme_results.py -->", "<!-- end of results -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only tell whether the table is as the records have it")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    wanted = with_table(text, results_table(ROOT / "records"))
    if not parser.parse_args().check:
        readme.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit("README.md: its results are not those of records/; run: python benchmarks/readme_results.py")


def with_table(text: str, table: str) -> str:
    """Return ``text`` with what stands between the two markers replaced by ``table``."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table}\n{END}{after}"


def results_table(records: Path) -> str:
    """Return one row per record that states a test accuracy."""
    lines = [
        "| recipe | test accuracy, mean ± sd | seeds | training | claim to meet | record |",
        "|---|---|---|---|---|---|",
    ]
    for name in RECORDS:
        link = f"[records/{name}](records/{name}/README.md)"
        for result in json.loads((records / name / "record.json").read_text(encoding="utf-8"))["results"]:
            accuracy = result["test_accuracy"]
            figure = f"{accuracy['mean']:.2%}" + (f" ± {accuracy['sd']:.2%}" if result["n"] > 1 else "")
            cells = (f"`{result['recipe']}`", figure, result["n"], result["training"], result["claim"], link)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
