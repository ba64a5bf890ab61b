"""Searches by several drivers on a real PostgreSQL: one table, no trial run twice, whoever dies."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import search_process
from packaging.version import Version
from search_process import finish, start, table, wait_for

from commands_and_data import PROGRAMS, run_modiste, run_script
from modiste.errors import ClusterError, RecipeError, RunError
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import EARLIER_DATA, Recipe
from modiste.runs import storage
from modiste.searches import outcomes
from modiste.searches.plan import Plan
from modiste.searches.postgres import PostgresStore
from modiste.searches.trial import TrialOutcome

SERVERS = {path.parent: Version(path.parts[-3]) for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/initdb")}
POSTGRESQL = max(SERVERS, key=SERVERS.__getitem__, default=None)
pytestmark = pytest.mark.skipif(POSTGRESQL is None, reason="PostgreSQL is not installed: make postgresql")
SPACE = ("optimizer.learning_rate=log(1e-4,1e-1)", "batch_size=log(16,64)")


@pytest.fixture(scope="module")
def plan(tiny_recipe: Recipe) -> Plan:
    small = replace(tiny_recipe, epochs=2, model=CNNRecipe(filters=(4,), pools=1, hidden=(16,), dropout=0.25))
    return Plan(recipe=small, space=SPACE, trials=8, lag=2)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own on loopback; as root, which PostgreSQL refuses, by the user that its package makes."""
    assert POSTGRESQL
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(tempfile.mkdtemp(prefix="modiste-postgres-"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def run(program: str, *words: str) -> None:
        command = [str(POSTGRESQL / program), *words]
        subprocess.run(command, check=True, user=user.pw_uid, group=user.pw_gid, cwd=folder, capture_output=True)

    run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "modiste", "-E", "UTF8", "--no-locale")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    run("pg_ctl", "-D", str(folder / "data"), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://modiste@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def alone(plan: Plan, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> bytes:
    """The table of the same search by one driver, kept in its folder."""
    return search_process.alone(tmp_path_factory.mktemp("alone") / "s", plan, tiny_folder)


@pytest.mark.slow
def test_two_drivers_share_a_search_and_the_death_of_one_costs_only_what_it_ran(
    plan: Plan, alone: bytes, server: str, tmp_path: Path, tiny_folder: Path
) -> None:
    words = ("--storage", server, "--study", "shared", "--workers", 1, "--drivers", 2)
    first, second = (start(tmp_path / name, plan, tiny_folder, *words) for name in ("first", "second"))
    with closing(PostgresStore(server, "shared")) as watcher:
        wait_for(lambda: has_tables(watcher) and len(watcher.outcomes()) >= 2, first)
    first.kill()
    first.communicate()
    assert second.communicate(timeout=120)[1] == ""
    finish(tmp_path / "first", plan, tiny_folder, *words)
    assert table(tmp_path / "first") == table(tmp_path / "second") == alone
    runs = [path.parent.name for path in tmp_path.glob("*/trials/*/manifest.json")]
    assert len(runs) - len(set(runs)) <= 1  # one may have ended as its driver died, unrecorded


def has_tables(store: PostgresStore) -> bool:
    try:
        store.outcomes()
    except ClusterError:
        return False
    return True


@pytest.mark.slow
def test_the_study_opens_in_optuna(plan: Plan, alone: bytes, server: str, tmp_path: Path, tiny_folder: Path) -> None:
    words = ("--storage", server, "--study", "shown")
    for _time in range(2):
        finish(tmp_path / "s", plan, tiny_folder, *words)
    assert table(tmp_path / "s") == alone
    read = run_script(PROGRAMS / "read_study.py", server, "shown")
    assert read.returncode == 0, read.stderr
    with closing(PostgresStore(server, "shown")) as store:
        assert json.loads(read.stdout) == [one.accuracy for one in store.outcomes()]


def test_a_trial_belongs_to_one_driver_as_long_as_it_lives(plan: Plan, server: str) -> None:
    with closing(PostgresStore(server, "taken")) as one, closing(PostgresStore(server, "taken")) as other:
        one.enter(plan)
        assert one.take(3)
        assert one.take(3)
        assert not other.take(3)
        assert other.take(4)
        one.close()
        deadline = time.monotonic() + 10
        while not other.take(3):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_first_outcome_of_a_trial_stands_and_is_read_back_to_the_last_bit(plan: Plan, server: str) -> None:
    values = {"optimizer.learning_rate": 0.1 + 0.2, "batch_size": 17}
    first = TrialOutcome(3, values, "complete", 1 / 3, (1 / 7, 1 / 3))
    with closing(PostgresStore(server, "kept")) as one, closing(PostgresStore(server, "kept")) as other:
        one.enter(plan)
        one.write(first)
        other.write(replace(first, accuracy=0.5))
        assert not other.take(3)
        assert one.news() == []
    with closing(PostgresStore(server, "kept")) as third:
        assert third.news() == [first]
        assert third.news() == []


def enter(plan: Plan, server: str) -> None:
    with closing(PostgresStore(server, "named")) as store:
        store.enter(plan)


def test_another_search_of_that_name_is_refused_and_a_longer_one_is_not(plan: Plan, server: str) -> None:
    enter(plan, server)
    with pytest.raises(RunError, match=r"another search named 'named' \(seed: 0 became 1\)"):
        enter(replace(plan, seed=1), server)
    enter(replace(plan, trials=9), server)
    with pytest.raises(RunError, match="trials: 9 became 8"):
        enter(plan, server)


def test_a_search_begun_before_a_field_of_the_data_existed_goes_on_as_its_version_did(plan: Plan, server: str) -> None:
    stored = to_plain(plan)
    del stored["recipe"]["data"]["decoder"]
    with closing(PostgresStore(server, "early")) as store:
        store.enter(plan)
        update = "update modiste_searches set plan = %s where name = 'early'"
        store._execute(update, json.dumps(stored))
        for _time in range(2):  # the plan that is stored again tells its version too
            assert store.enter(plan).recipe.data.decoder == EARLIER_DATA["decoder"] != plan.recipe.data.decoder


def test_drivers_that_begin_and_end_together_on_a_new_database_make_its_tables_once(plan: Plan, server: str) -> None:
    together, short = threading.Barrier(3), replace(plan, trials=1)
    values = {"optimizer.learning_rate": 0.01, "batch_size": 17}

    def drive(url: str, study: str) -> None:
        with closing(PostgresStore(url, study)) as store:
            together.wait(60)
            store.enter(short)
            store.write(TrialOutcome(0, values, "complete", 0.5, (0.5,)))
            together.wait(60)
            store.conclude(short)

    for number in range(2):
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"create database new{number}")
        url = f"{server.rpartition('/')[0]}/new{number}"
        with ThreadPoolExecutor(3) as drivers:
            ends = [drivers.submit(drive, url, study) for study in ("same", "same", "other")]
        assert [end.exception() for end in ends] == [None] * 3


ADDRESSES = (
    "postgresql://me:SECRET@127.0.0.1:1/x",
    "postgres://me:SECRET@127.0.0.1:1/x",
    "postgresql://me:SECRET%40SECRET@127.0.0.1:1/x",
    "postgresql://127.0.0.1:1/x?user=me&password=SECRET",
    "postgresql:///x?host=127.0.0.1&port=1&password=SECRET",
    "postgresql://me@127.0.0.1:1/x?password=SECRET&sslpassword=SECRET",
    "postgresql://me@127.0.0.1:1/x?passfile=/SECRET",
    "host=127.0.0.1 port=1 dbname=x password=SECRET",
    "host = 127.0.0.1 port = 1 dbname = x password = 'SEC RET SECRET'",
)
UNREADABLE = (
    "postgresql://me:SECRET@SECRET@127.0.0.1:1/x",
    "postgresql://me:SECRET@127.0.0.1:1@127.0.0.1:1/x",
    "postgresql://me:SECRET/SECRET@127.0.0.1:1/x",
    "postgresql://me:1/SECRET@127.0.0.1:1/x",
    "postgresql://me:SEC RET SECRET@127.0.0.1:1/x",
    "postgresql://me:SECRET%zz@127.0.0.1:1/x",
    "postgresql://127.0.0.1:SECRET/x",
    "postgresql://127.0.0.1:1/x?PASSWORD=SECRET",
    "postgresql://127.0.0.1:1/x?pasword=SECRET",
    "postgresql://127.0.0.1:1/x?SECRET",
    "POSTGRESQL://me:SECRET@127.0.0.1:1/x",
    "host=127.0.0.1 PASSWORD=SECRET",
    "host=127.0.0.1 password='SECRET",
    "host=127.0.0.1 password=SEC RET SECRET",
    "postgresql:///x?dbname=password=SECRET",
    "mysql://me:SECRET@127.0.0.1/x",
    "SECRET",
    "postgresql://me:SECRET\udcff@127.0.0.1:1/x",
    "",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_server_is_said_by_host_port_and_database_alone(address: str) -> None:
    with pytest.raises(ClusterError, match=r"the storage at 127\.0\.0\.1:1/x cannot be used") as refused:
        PostgresStore(address, "named")
    assert "SECRET" not in str(refused.value)
    assert "RET" not in str(refused.value)


@pytest.mark.parametrize("address", UNREADABLE)
def test_of_an_address_that_cannot_be_read_nothing_is_repeated(address: str) -> None:
    with pytest.raises(ClusterError, match="expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as refused:
        PostgresStore(address, "named")
    assert "RET" not in str(refused.value)


def test_another_database_by_every_form_of_its_address(plan: Plan, server: str) -> None:
    port = server.rpartition(":")[2].partition("/")[0]
    forms = (
        f"host=127.0.0.1 port={port} dbname=postgres user=modiste password='a b@c'",
        f"postgresql://127.0.0.1:{port}/postgres?user=modiste&password=a%20b%40c",
    )
    for form in forms:
        with closing(PostgresStore(form, "forms")) as store:
            store.enter(plan)
            store.conclude(plan)


def test_a_database_that_fails_at_the_end_is_said_in_one_line(
    plan: Plan, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def fail(*_words: object) -> None:
        raise OperationalError("select 1", None, OSError("connection lost\nand more"))

    with closing(PostgresStore(server, "lost")) as store:
        store.enter(plan)
        monkeypatch.setattr(outcomes, "write_study", fail)
        with pytest.raises(ClusterError, match="connection lost; what has ended is kept"):
            store.conclude(plan)


@pytest.mark.parametrize("name", ["", "x" * 513, "two\nlines", "\udcff", "nul\0"])
def test_a_name_that_the_database_cannot_hold_is_refused_before_anything(name: str) -> None:
    with pytest.raises(RecipeError, match="--study: expected a name"):
        PostgresStore("postgresql://127.0.0.1:1/x", name)


def test_the_longest_name_is_held(plan: Plan, server: str) -> None:
    name = "\N{CHERRY BLOSSOM}" * 512
    with closing(PostgresStore(server, name)) as store:
        store.enter(plan)
        assert store.take(0)
        store.conclude(plan)


def test_no_server_is_said_without_the_password(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    storage.write_json(tmp_path / "tiny.json", to_plain(plan.recipe))
    words = ["search", "tiny.json", *plan.space, "--out", "s", "--data-folder", tiny_folder, "--storage"]
    done = run_modiste(*words, "postgresql://me:SECRET@127.0.0.1:1/x", cwd=tmp_path)
    assert done.returncode == ClusterError.exit_code
    assert "the storage at 127.0.0.1:1/x cannot be used" in done.stderr
    assert "SECRET" not in done.stderr
    assert "expected postgresql://" in run_modiste(*words, "sqlite:///x", cwd=tmp_path).stderr
    assert not (tmp_path / "s" / outcomes.TABLE).exists()
