"""How random examples are drawn: many more by hand with `--hypothesis-profile long`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suite", deadline=None)  # other processes have the same cores: time shows nothing
settings.register_profile("long", parent=settings.get_profile("suite"), max_examples=20_000)
settings.load_profile("suite")
