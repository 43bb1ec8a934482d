"""What `import skysift` leaves for later."""

import subprocess
import sys

LATER = "xarray pandas scipy.stats scipy.interpolate scipy.optimize scipy.ndimage"


def test_what_few_need_is_not_imported_with_the_package():
    told = f"import sys, skysift; print(*[one for one in '{LATER}'.split() if one in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True
    ).stdout
    assert found.split() == []
