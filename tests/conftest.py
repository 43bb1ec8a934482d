"""Settings that must stand before anything is imported."""

import os
import signal

# PySM's just-in-time compilation costs more than it saves on small maps. Numba reads this when it
# is imported; changing its configuration later breaks what it has compiled until then.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

# A shell starts what it puts into the background with SIGINT ignored, and so would be all that the
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
