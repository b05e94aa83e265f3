"""Hypothesis profiles: `dev` (the default), `ci` (the same examples each time), `intense` (--hypothesis-profile intense)."""

import os

from hypothesis import settings

from tinygan.testing import strategies

strategies.register_profiles()
settings.load_profile("ci" if os.environ.get("CI") else "dev")
