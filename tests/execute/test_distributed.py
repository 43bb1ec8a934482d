import json
import os
import socket
import subprocess
import sys

import jax
import pytest

from skysift.execute import distributed

_PROCESS = """
import json
import sys
from skysift.execute import distributed

address, count, index = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with distributed(address, count, index, timeout=60.0) as share:
    import jax
    import jax.numpy as jnp
    from skysift.execute import Serial

    outcomes = Serial().run(lambda item: float(jnp.sqrt(item)), share.of([0, 1, 4, 9, 16]))
    print(json.dumps({
        "values": [outcome.value for outcome in outcomes],
        "index": share.index,
        "devices": [len(jax.local_devices()), len(jax.devices())],
    }))
"""


def test_two_processes_share_the_items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, address, "2", str(index)],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors.decode()
    first, second = (json.loads(output) for output, _ in said)
    assert first == {"index": 0, "values": [0.0, 2.0, 4.0], "devices": [1, 2]}
    assert second == {"index": 1, "values": [1.0, 3.0], "devices": [1, 2]}


def test_it_is_too_late_after_the_first_computation():
    jax.devices()
    with pytest.raises(RuntimeError, match=r"before"), distributed("localhost:1", 1, 0):
        pass


def test_missing_arguments_are_told(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM", "OMPI", "JAX_COORD"))]:
        monkeypatch.delenv(name)
    code = "from skysift.execute import distributed\nwith distributed(): pass"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "ValueError: distributed: expected address, count and index" in said.stderr
