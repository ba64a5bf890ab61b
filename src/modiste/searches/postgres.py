"""The outcomes of a search in a PostgreSQL database, shared by drivers on several machines."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from modiste.errors import ClusterError, MissingExtraError, RecipeError, RunError, printable
from modiste.recipes.plain import to_plain
from modiste.searches import outcomes
from modiste.searches.outcomes import OutcomeStore
from modiste.searches.plan import Plan, as_begun, grown
from modiste.searches.trial import TrialOutcome

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

TABLES = """
create table if not exists modiste_searches (name text primary key, plan json not null);
create table if not exists modiste_outcomes (
    search text not null references modiste_searches (name), number integer not null, outcome json not null,
    primary key (search, number));
"""
FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
CONNECT_SECONDS = 10
LONGEST_NAME = 512
"""Longest name of a study that Optuna's table can hold."""
TABLES_LOCK = "modiste tables"
"""Name of the lock held while tables are created."""


class PostgresStore(OutcomeStore):
    """Outcomes in two tables, with a session lock for every trial that runs.

    The database releases a session lock when the driver's connection ends. So the trial of a dead driver is free again
    at once, without relying on clocks.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, or another form that libpq reads.
        name: Name of the search. Drivers with the same name work together.

    Raises:
        RecipeError: The name is empty, longer than ``LONGEST_NAME`` or not printable.
        MissingExtraError: psycopg is not installed.
        ClusterError: The database cannot be used. Every method can raise it.
    """

    look_seconds: ClassVar[float] = 1.0

    def __init__(self, url: str, name: str) -> None:
        check_name(name)
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("--storage needs psycopg: pip install 'modiste[postgresql]'") from error
        self._psycopg, self._url, self._name = psycopg, url, name
        self._address = printable_address(url)
        self._taken, self._known = set[int](), set[int]()
        with self._errors_translated():
            self._connection = self._connect(autocommit=True)

    def enter(self, plan: Plan) -> Plan:
        with self._alone(TABLES_LOCK):
            self._execute(TABLES)
        with self._alone(self._lock("plan")):
            row = self._execute("select plan from modiste_searches where name = %s", self._name).fetchone()
            begun, changes = as_begun(row[0], plan, grows="trials") if row else (plan, [])
            if changes:
                raise RunError(
                    f"the storage holds another search named {self._name!r} ({'; '.join(changes)}); "
                    "give the command that started it, or another --study"
                )
            self._execute(
                "insert into modiste_searches values (%s, %s) on conflict (name) do update set plan = excluded.plan",
                self._name,
                json.dumps(grown(row[0], plan, grows="trials") if row else to_plain(plan)),
            )
        return begun

    def outcomes(self) -> list[TrialOutcome]:
        return self._read(known=[])

    def news(self) -> list[TrialOutcome]:
        return self._read(known=list(self._known))

    def take(self, number: int) -> bool:
        """Reserve a trial until ``close``; return False if another driver has it or it has an outcome."""
        if number not in self._taken:
            row = self._execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", self._lock(number)).fetchone()
            if not row[0]:
                return False
            self._taken.add(number)
        known = "select 1 from modiste_outcomes where search = %s and number = %s"
        return self._execute(known, self._name, number).fetchone() is None

    def write(self, outcome: TrialOutcome) -> None:
        self._execute(
            "insert into modiste_outcomes values (%s, %s, %s) on conflict do nothing",
            self._name,
            outcome.number,
            json.dumps(asdict(outcome)),
        )
        self._known.add(outcome.number)

    def close(self) -> None:
        """Close the connection, which releases every trial that this driver has taken."""
        self._connection.close()

    def conclude(self, plan: Plan) -> None:
        """Write the study into the same database, replacing one that another driver wrote."""
        from optuna import delete_study, get_all_study_names
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._study_storage() as storage, self._alone(self._lock("study")):
                if self._name in get_all_study_names(storage):
                    delete_study(study_name=self._name, storage=storage)
                outcomes.write_study(storage, self._name, plan, self.outcomes())
        except (SQLAlchemyError, OptunaError, RuntimeError) as error:
            raise self._unusable(error.__cause__ or error) from error

    @contextmanager
    def _study_storage(self) -> Iterator["RDBStorage"]:
        """Open Optuna's tables with connections made here, so that its messages cannot contain the password."""
        from optuna.storages import RDBStorage

        with self._alone(TABLES_LOCK):
            storage = RDBStorage("postgresql+psycopg://", engine_kwargs={"creator": self._connect})
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _connect(self, **options: Any) -> Any:
        return self._psycopg.connect(self._url, connect_timeout=CONNECT_SECONDS, **options)

    def _read(self, known: list[int]) -> list[TrialOutcome]:
        """Return all outcomes except those with ``known`` numbers."""
        wanted = "search = %s and number <> all(%s) order by number"
        rows = self._execute(f"select outcome from modiste_outcomes where {wanted}", self._name, known)
        found = [outcomes.from_plain(plain) for (plain,) in rows.fetchall()]
        self._known.update(outcome.number for outcome in found)
        return found

    @contextmanager
    def _alone(self, lock: str) -> Iterator[None]:
        """Exclude other drivers from this block."""
        self._execute("select pg_advisory_lock(hashtextextended(%s, 0))", lock)
        try:
            yield
        finally:
            self._execute("select pg_advisory_unlock(hashtextextended(%s, 0))", lock)

    def _lock(self, what: int | str) -> str:
        """Return the name of a lock of this search."""
        return f"modiste {self._name} {what}"

    def _execute(self, statement: str, *values: Any) -> Any:
        with self._errors_translated():
            return self._connection.execute(statement, values or None)

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        """Raise errors of psycopg in this block as ClusterError."""
        try:
            yield
        except self._psycopg.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException) -> ClusterError:
        first = str(error).strip().partition("\n")[0]
        return ClusterError(
            f"the storage at {self._address} cannot be used: {first}; what has ended is kept, "
            "and the same command goes on"
        )


def check_name(name: str) -> None:
    """Raise RecipeError unless the database can hold this name of a search."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise RecipeError(f"--study: expected a name of 1 to {LONGEST_NAME} characters, found {len(name)}")
    if not name.isprintable():
        raise RecipeError(f"--study: expected a name of printable characters, found {printable(name, 100)}")


def printable_address(url: str) -> str:
    """Return host, port and database of an address, without user and password.

    Raises:
        ClusterError: libpq cannot read the address. The same error is raised if a password has special characters that
            are not percent-encoded, because a part of it could be read as host, port or database. The message contains
            nothing of the address.
    """
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except (Error, UnicodeError):
        parts = {}
    host, port, database = (parts.get(name, "") for name in ("host", "port", "dbname"))
    readable = (
        re.fullmatch(r"[\w.:%,/-]*", host) and re.fullmatch(r"[\d,]*", port) and not re.search(r"[@/:=\s]", database)
    )
    if not parts or not readable:
        raise ClusterError(
            f"--storage: expected {FORM}, with special characters in user and password percent-encoded "
            "(@ is %40, / is %2F)"
        )
    return f"{host or 'localhost'}{f':{port}' if port else ''}/{database}"
