"""PgBouncer in front of a private PostgreSQL."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import URL, make_url

from .process import SYSTEM_PATH, Process, Unavailable, answers, nobody, private_folder

_CONFIG = """
[databases]
* = host={server} user=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
server_reset_query =
"""


class PgBouncer:
    """Lends each of its few connections for one transaction at a time.

    :param server: the folder of PostgreSQL's socket.
    """

    def __init__(self, server: Path, size: int = 3) -> None:
        command = shutil.which("pgbouncer", path=SYSTEM_PATH)
        if command is None:
            raise Unavailable("no PgBouncer: pgbouncer is not installed")
        user = nobody()
        self.folder = private_folder(user)
        config = self.folder / "pgbouncer.ini"
        config.write_text(_CONFIG.format(server=server, folder=self.folder, size=size))
        self.process = Process((command, config), self.folder / "log", cwd=self.folder, **user)
        self.process.wait_until(lambda: answers(self.folder / ".s.PGSQL.6432"))

    def url(self, database: str) -> str:
        """Return the URL of a database of the server, through here."""
        query = {"host": str(self.folder), "port": "6432"}
        made = URL.create("postgresql+psycopg", "postgres", database=make_url(database).database, query=query)
        return made.render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
