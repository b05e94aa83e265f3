"""Hypothesis profiles: `dev` (the default), `ci` (the same examples each time), `intense` (--hypothesis-profile intense)."""

import os

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # first calls compile kernels
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.register_profile("intense", max_examples=1000, deadline=None, suppress_health_check=QUIET)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
