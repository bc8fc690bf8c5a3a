"""kill -9, again and again: every window heals, no row is there twice, no chunk is half there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import SCALE, SEED, middle, scaled, tell
from harness import BOUND, kill_loop
from marks import quick_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from harness import Fleet

MOVES = 150
SHORT_MOVES = 3


@quick_on("postgresql")  # elsewhere a process dies at each point of a top-up: test_loop_crash.py
def test_kill_loop(fleet: Callable[..., Fleet], database_url: str, request: pytest.FixtureRequest) -> None:
    """Workers are killed twice a day, the first time while they fill: all windows heal, and within the bound."""
    workers = 4 if SCALE else 2
    ours = fleet(database_url, workers=workers, rows=6, delay=0.01)
    first = ours.heal()
    with ours.visitors() as traffic:
        losses = kill_loop(ours, scaled(MOVES, SHORT_MOVES), SEED, waits=not SCALE)
    found = ours.audit()
    tell(
        f"E02 kill loop [{request.node.callspec.id}]",
        moves=losses.moves,
        kills=losses.kills,
        inside_a_run=losses.inside,
        unhealed=losses.unhealed,
        **found,
        heal_p50=middle(losses.heals),
        heal_max=max(losses.heals, default=0.0),
        first=first,
        requests=len(traffic.seconds),
        p99_ms=traffic.p99,
        broken=traffic.broken,
        errors=traffic.errors,
    )
    assert losses.unhealed == 0
    assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)
    assert losses.inside > 0, "no kill met a top-up"
    assert losses.kills >= 5
    assert traffic.errors == 0, traffic.bodies[:3]
    if SCALE:
        assert max(losses.heals) <= BOUND
