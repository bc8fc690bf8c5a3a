"""What is the matter: coverage of the window, why there is (no) slot, and faults of the deployment."""

from .coverage import HealthReport, check_health
from .doctor import Finding, Level, examine
from .explain import Explanation, explain

__all__ = ["Explanation", "Finding", "HealthReport", "Level", "check_health", "examine", "explain"]
