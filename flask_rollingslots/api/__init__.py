"""The HTTP API: a Flask blueprint that speaks JSON. Everything in it goes through the facade and the floors below.

Needs the extra ``api`` (pydantic).
"""

from .blueprint import make_blueprint
from .feed_routes import secret_address

__all__ = ["make_blueprint", "secret_address"]
