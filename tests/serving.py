"""An S3 server of this machine, one for a whole session: fsspec keeps file systems, with the server they found."""

import subprocess
import sys

import pytest

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def buckets(tmp_path_factory):
    """Return a function that makes a bucket on a server that this session starts, and returns its address."""
    pytest.importorskip("moto", reason="moto, which answers as S3 does, is not installed")
    s3fs = pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    run = [sys.executable, "-W", "ignore", "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(run, text=True, **pipes) as server, pytest.MonkeyPatch.context() as patch:
        port = next(word for word in iter(server.stdout.readline, "") if word.strip().isdigit()).strip()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("WHATELSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = []

        def make():
            made.append(f"bucket-{len(made)}")
            s3fs.S3FileSystem().mkdir(made[-1])
            return f"s3://{made[-1]}/results"

        yield make
        server.kill()
