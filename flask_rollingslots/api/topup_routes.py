"""To come."""

from .operations import Operations

operations = Operations("topup")
