"""How many examples the property tests of the seams to other libraries' data take: 10,000 each in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

seam = settings(
    max_examples=10_000 if os.environ.get("CHAINKIT_HYPOTHESIS") == "fuzz" else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
