"""The audit of the guards finds each of them where it looks; the audit itself is a command of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation_audit import MUTANTS, Mutant

PACKAGE = Path(__file__).resolve().parents[2] / "flask_rollingslots"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_each_patch_fits(mutant: Mutant) -> None:
    """Each patch of the audit matches exactly once: a guard that was rewritten is not forgotten."""
    patches = ((mutant.file, mutant.old, mutant.new), *mutant.more)
    assert [(PACKAGE / file).read_text("utf-8").count(old) for file, old, _ in patches] == [1] * len(patches)
