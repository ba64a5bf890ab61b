"""A search's outcomes in a PostgreSQL database, for several drivers on several machines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ClassVar

from modiste.errors import ClusterError, MissingExtraError, RunError
from modiste.plain import build, to_plain
from modiste.search import outcomes
from modiste.search.ledger import Ledger
from modiste.search.plan import Plan, changes_of
from modiste.search.trial import Outcome

TABLES = """
create table if not exists modiste_searches (name text primary key, plan json not null);
create table if not exists modiste_outcomes (
    search text not null references modiste_searches (name), number integer not null, outcome json not null,
    primary key (search, number));
"""
SCHEMES = ("postgresql://", "postgres://")
CONNECT_SECONDS = 10


class PostgresLedger(Ledger):
    """Two tables, and a lock of the session for every trial that runs.

    Such a lock is gone when its driver's connection is: a trial whose driver died is free again at once, and no clock
    has to be trusted.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        name: of the search; drivers that give the same work together.

    Raises:
        MissingExtraError: psycopg is not installed.
        ClusterError: the database cannot be reached; from any method as well.
    """

    look_seconds: ClassVar[float] = 1.0

    def __init__(self, url: str, name: str) -> None:
        if not url.startswith(SCHEMES):
            raise ClusterError(f"--storage: expected {SCHEMES[0]}USER@HOST/DATABASE, found {url.partition(':')[0]!r}")
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("--storage needs psycopg: pip install 'modiste[postgresql]'") from error
        self._psycopg, self._url, self._name = psycopg, url, name
        self._taken, self._known = set[int](), set[int]()
        with self._told_to_people():
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS)

    def enter(self, plan: Plan) -> None:
        """As every ledger does."""
        with self._alone("plan"):
            self._execute(TABLES)
            row = self._execute("select plan from modiste_searches where name = %s", self._name).fetchone()
            before = build(Plan, row[0]) if row else plan
            if changes := changes_of(before, plan, grows="trials"):
                raise RunError(
                    f"the storage holds another search named {self._name!r} ({'; '.join(changes)}); "
                    "give the command that started it, or another --study"
                )
            self._execute(
                "insert into modiste_searches values (%s, %s) on conflict (name) do update set plan = excluded.plan",
                self._name,
                json.dumps(to_plain(plan)),
            )

    def outcomes(self) -> list[Outcome]:
        """As every ledger does."""
        return self._read(known=[])

    def news(self) -> list[Outcome]:
        """As every ledger does."""
        return self._read(known=list(self._known))

    def take(self, number: int) -> bool:
        """As every ledger does; a trial that this driver has taken stays taken."""
        if number not in self._taken:
            row = self._execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", self._lock(number)).fetchone()
            if not row[0]:
                return False
            self._taken.add(number)
        known = "select 1 from modiste_outcomes where search = %s and number = %s"
        return self._execute(known, self._name, number).fetchone() is None

    def write(self, outcome: Outcome) -> None:
        """As every ledger does."""
        self._execute(
            "insert into modiste_outcomes values (%s, %s, %s) on conflict do nothing",
            self._name,
            outcome.number,
            json.dumps(asdict(outcome)),
        )
        self._known.add(outcome.number)

    def close(self) -> None:
        """Let go of the connection, and with it of every trial that this driver has taken."""
        self._connection.close()

    def conclude(self, plan: Plan) -> None:
        """Write the study into the same database, in place of what an earlier driver wrote."""
        from optuna import delete_study, get_all_study_names
        from optuna.storages import RDBStorage

        storage = RDBStorage("postgresql+psycopg://" + self._url.partition("://")[2])
        with self._alone("study"):
            if self._name in get_all_study_names(storage):
                delete_study(study_name=self._name, storage=storage)
            outcomes.write_study(storage, self._name, plan, self.outcomes())
        storage.engine.dispose()

    def _read(self, known: list[int]) -> list[Outcome]:
        wanted = "search = %s and number <> all(%s) order by number"
        rows = self._execute(f"select outcome from modiste_outcomes where {wanted}", self._name, known)
        found = [outcomes.from_plain(plain) for (plain,) in rows.fetchall()]
        self._known.update(outcome.number for outcome in found)
        return found

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Let no other driver do this at the same time."""
        self._execute("select pg_advisory_lock(hashtextextended(%s, 0))", self._lock(what))
        try:
            yield
        finally:
            self._execute("select pg_advisory_unlock(hashtextextended(%s, 0))", self._lock(what))

    def _lock(self, what: int | str) -> str:
        return f"modiste {self._name} {what}"

    def _execute(self, statement: str, *values: Any) -> Any:
        with self._told_to_people():
            return self._connection.execute(statement, values or None)

    @contextmanager
    def _told_to_people(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            first = str(error).strip().partition("\n")[0]
            raise ClusterError(
                f"the storage at {self._place()} cannot be used: {first}; what has ended is kept, "
                "and the same command goes on"
            ) from error

    def _place(self) -> str:
        """Name the server without its password."""
        return self._url.partition("://")[2].rpartition("@")[2]
