"""Settings that must stand before anything is imported."""

import os

# PySM's just-in-time compilation costs more than it saves on small maps. Numba reads this when it
# is imported; changing its configuration later breaks what it has compiled until then.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
