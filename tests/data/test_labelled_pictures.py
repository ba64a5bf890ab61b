"""Pictures whose labels are in their names, or in a table that lies beside them."""

import json
from pathlib import Path

import pytest

from commands_and_data import write_pictures
from modiste.data import held_out
from modiste.data.dataset import load_development
from modiste.data.pictures.picture_source import list_pictures
from modiste.errors import DataError
from modiste.recipes.recipe import DataRecipe

COUNTS = {"cat": 6, "dog": 6}


def laid_flat(folder: Path) -> list[str]:
    """Pictures called cat.0.png, dog.0.png ... in one folder."""
    names = []
    for name in write_pictures(folder / "classes", COUNTS):
        label, _, rest = name.partition("/")
        names.append(f"{label}.{int(rest.removesuffix('.png'))}.png")
        (folder / "classes" / name).rename(folder / names[-1])
    for label in COUNTS:
        (folder / "classes" / label).rmdir()
    (folder / "classes").rmdir()
    return names


def csv_table(column: str, names: list[str]) -> str:
    rows = [f"{name.removesuffix('.png') if column == 'image_id' else name},{name[:3]}" for name in names]
    return "\n".join([f"{column},label", *rows])


def json_table(names: list[str]) -> str:
    return "".join(json.dumps({"file_name": name, "label": name[:3], "more": [1]}) + "\n" for name in names)


@pytest.mark.parametrize("layout", ["names", "file_name", "image_id", "json lines"])
@pytest.mark.usefixtures("cache")
def test_the_same_pictures_in_every_layout(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    names = laid_flat(folder)
    if layout == "json lines":
        (folder / "metadata.jsonl").write_text(json_table(names), encoding="utf-8")
    elif layout != "names":
        (folder / "metadata.csv").write_text(csv_table(layout, names), encoding="utf-8")
    listed = list_pictures(folder)
    assert {entry.name: entry.class_name for entry in listed.entries} == {name: name[:3] for name in names}
    recipe = DataRecipe(source=str(folder), pictures="whole", side=8)
    development = load_development(recipe)
    assert development.class_names == ("cat", "dog")
    assert len(development.train) + len(development.validation) == 10
    assert len(held_out.load_test(recipe)) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "metadata.jsonl: line 13: not JSON: expected an object such as"),
        ("[1]", "line 13: no path or no label: expected an object .* found"),
        ('{"file_name": "cat.0.png"}', "line 13: no path or no label"),
        ('{"file_name": "cat.0.png", "label": null}', "line 13: no path or no label"),
        ('{"file_name": "cat.0.png", "label": 1.5}', "line 13: no path or no label"),
        ('{"file_name": "../x.png", "label": "cat"}', "line 13: a path that leaves the folder"),
        ('{"file_name": "cat.0.png", "label": "cat"}', "line 13: a picture named twice"),
        ("[" * 100_000, "line 13: not JSON"),
    ],
)
def test_bad_json_lines(line: str, message: str, tmp_path: Path) -> None:
    names = laid_flat(tmp_path / "pets")
    (tmp_path / "pets" / "metadata.jsonl").write_text(f"{json_table(names)}{line}\n")
    with pytest.raises(DataError, match=message) as caught:
        list_pictures(tmp_path / "pets")
    assert "\n" not in str(caught.value)


def test_text_in_json_lines_may_hold_other_ends_of_lines(tmp_path: Path) -> None:
    names = laid_flat(tmp_path / "pets")
    lines = json_table(names).replace('"more": [1]', '"more": "one\u2028two\x85three"').replace("\n", "\r\n")
    (tmp_path / "pets" / "metadata.jsonl").write_text(lines, encoding="utf-8", newline="")
    assert len(list_pictures(tmp_path / "pets").entries) == len(names)


PATHS = ("image_id", "file_name", "path")


@pytest.mark.parametrize("columns", [PATHS, PATHS[::-1], PATHS[:2], PATHS[1::-1], ("image_id", "path")])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_of_several_columns_of_paths_the_same_one_counts_in_both_tables(
    name: str, columns: tuple[str, ...], tmp_path: Path
) -> None:
    pictures = laid_flat(tmp_path / "pets")
    counting = max(columns, key=PATHS.index)
    rows = [
        {column: picture if column == counting else f"{number}" for column in columns} | {"label": picture[:3]}
        for number, picture in enumerate(pictures)
    ]
    lines = map(json.dumps, rows)
    if name == "metadata.csv":
        lines = map(",".join, [rows[0].keys(), *(row.values() for row in rows)])
    (tmp_path / "pets" / name).write_text("\n".join(lines), encoding="utf-8")
    listed = list_pictures(tmp_path / "pets")
    assert {entry.name: entry.class_name for entry in listed.entries} == {one: one[:3] for one in pictures}


@pytest.mark.parametrize("header", ["file_name,tag", "image_id,label,label", "file_name,file_name,label"])
def test_a_wrong_first_line_is_quoted_as_it_is(header: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\n")
    column = header.partition(",")[0]
    expected = f"expected a first line that names {column} and label once each, .*, found {header};"
    with pytest.raises(DataError, match=expected):
        list_pictures(tmp_path / "list.csv")


def test_pictures_without_a_class_in_the_name_are_refused(tmp_path: Path) -> None:
    laid_flat(tmp_path / "pets")
    (tmp_path / "pets" / "cat.1.png").rename(tmp_path / "pets" / "IMG_0001.png")
    with pytest.raises(DataError, match="put the pictures of each class into a folder of its own"):
        load_development(DataRecipe(source=str(tmp_path / "pets")))
