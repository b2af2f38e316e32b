"""The fixtures of studies and stores, and a Ray cluster of two nodes on this machine."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.study.conftest import arrays, inline, small, tiny

__all__ = ["arrays", "inline", "raylets", "small", "tiny"]
# Two nodes, the second of which has a GPU as far as Ray knows; it goes away, or all do, as a line says.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1, num_gpus=1)
print(cluster.address, flush=True)
print(second.node_id, flush=True)
for line in sys.stdin:
    if line == "remove\\n":
        cluster.remove_node(second, allow_graceful=False)
    if line == "die\\n":
        for node in (cluster.head_node, second):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


class Raylets:
    """A Ray cluster of two nodes with one core each."""

    def __init__(self, process):
        self._process, self.spent = process, False
        read = iter(process.stdout.readline, "")
        self.address = next(line.strip() for line in read if line.strip().rpartition(":")[2].isdigit())
        self.second = next(read).strip()

    def do(self, what):
        self.spent = True
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@pytest.fixture(scope="module")
def _clusters():
    """Return a cluster that nothing has happened to yet, or else a new one."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    run = [sys.executable, "-W", "ignore", "-c", CLUSTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        made = []

        def whole():
            if not made or made[-1].spent:
                process = stack.enter_context(subprocess.Popen(run, text=True, **pipes))
                stack.callback(process.stdin.close)
                made.append(Raylets(process))
            return made[-1]

        yield whole


@pytest.fixture
def raylets(_clusters, monkeypatch):
    found = _clusters()
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    return found
