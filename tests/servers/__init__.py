"""Private real servers for the tests: each in its own temporary folder, on a unix socket, gone with the session.

No system service is used or touched. A server that this machine does not have raises `Unavailable`, whose text
becomes the reason of the skip; one that it has and that does not start is an error, never a skip.
"""

from .caches import Memcached, Valkey
from .chromium import chromium
from .databases import DatabaseServer, MariaDB, Postgres
from .npm import npm_package
from .process import Process, Unavailable, private_folder, use_memory
from .web import Gunicorn, Response

__all__ = [
    "DatabaseServer",
    "Gunicorn",
    "MariaDB",
    "Memcached",
    "Postgres",
    "Process",
    "Response",
    "Unavailable",
    "Valkey",
    "chromium",
    "npm_package",
    "private_folder",
    "use_memory",
]
