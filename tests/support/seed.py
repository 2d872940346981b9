"""The seed of everything random in the fault tests: fixed, unless the environment gives another."""

import os

SEED = int(os.environ.get("IPAM_TEST_SEED", "1"))
