"""The tables: mixins for an app's own classes, and ``make_models`` for everybody else."""

from .fields import (
    FIELDS,
    Change,
    TemplateFacts,
    TemplateField,
    TemplateMixin,
    check_data,
    check_limits,
    check_template,
    check_times,
)
from .kinds import UtcDateTime, copy_of_value, plain, table_of
from .machinery import CheckMixin, FeedAddressMixin, LeaseMixin, ResourceMixin, RunMixin, ShardMixin
from .making import make_models
from .neighbours import displaced_near, load_neighbours, mark_crowd, mark_near
from .noting import DECIDED_FIELDS, has_decisions
from .own import NO_OWN, OwnColumns, OwnField
from .places import (
    Seen,
    Stay,
    claim_columns,
    expired_places,
    forget_busy,
    has_claim,
    is_excluded,
    is_kept_for_waiting,
    keeps_for_waiting,
    left_in_pool_at,
    load_busy,
    mark_busy,
    most_taken,
    taken_of_pool,
)
from .states import SlotFacts
from .tables import (
    KEEP_IDS,
    BookingMixin,
    Models,
    Shared,
    SlotMixin,
    is_away,
    keep_name,
)

__all__ = [
    "DECIDED_FIELDS", "FIELDS", "KEEP_IDS", "NO_OWN", "BookingMixin", "Change", "CheckMixin", "FeedAddressMixin",
    "LeaseMixin", "Models", "OwnColumns", "OwnField", "ResourceMixin", "RunMixin", "Seen", "ShardMixin", "Shared",
    "SlotFacts", "SlotMixin", "Stay", "TemplateFacts", "TemplateField", "TemplateMixin", "UtcDateTime", "check_data",
    "check_limits", "check_template", "check_times", "claim_columns", "copy_of_value", "displaced_near",
    "expired_places", "forget_busy", "has_claim", "has_decisions", "is_away", "is_excluded", "is_kept_for_waiting",
    "keep_name", "keeps_for_waiting", "left_in_pool_at", "load_busy", "load_neighbours", "make_models", "mark_busy",
    "mark_crowd", "mark_near", "most_taken", "plain", "table_of", "taken_of_pool",
]  # fmt: skip
