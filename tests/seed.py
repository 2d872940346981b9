"""The seed of everything random in the fault tests; the header of each run shows it."""

import os
import random

SEED = int(os.environ.get("IPAM_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
