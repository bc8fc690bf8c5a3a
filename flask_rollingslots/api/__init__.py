"""The HTTP API: a Flask blueprint that speaks JSON. Everything in it calls the facade.

Needs the extra ``api`` (pydantic).
"""

from .blueprint import make_blueprint

__all__ = ["make_blueprint"]
