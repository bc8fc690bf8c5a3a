"""A slot table in partitions by month, made by the app's own migration, as the page about scaling describes it."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path

from helpers import A_WEEK, Site
from sqlalchemy import text

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "scaling.md"
MIGRATION = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)[-1]


def test_everything_works_on_partitions(postgres_url: str, tmp_path: Path) -> None:
    """Fill over the end of a month, look again, edit, book and prune: all on partitions, and each row in its own."""
    site = Site(postgres_url, tmp_path)
    with site.app.app_context():
        for statement in filter(str.strip, MIGRATION.split(";")):
            site.session.execute(text(statement))
        site.session.commit()
        template = site.add().id
        assert site.slots.generate(days=35).created == 35 * 8
        assert site.slots.generate(days=35).created == 0
        assert site.session.scalar(text("SELECT count(*) FROM slot_2026_02")) == 8 * 8
        key = site.week()[3].key
        site.slots.book(key, who="Ann")
        site.slots.edit(site.week()[-1].key, "this_and_future", start=time(17, 30))
        site.session.commit()
        site.slots.generate(days=35)
        assert site.slots.get(key).state == "full"
        assert len(site.week(template=template)) == A_WEEK
        site.clock.turn(days=40)
        assert site.slots.prune(older_than=1).slots > 0
        site.session.remove()
