"""A process that has imported what every command needs, and forks for each call: pages have dozens of calls.

Called ``whatelse`` in a folder that stands first on the path is `CLIENT`, which hands its streams, folder and
environment over to it. Jobs run in the forked process (``--on inline``), where the same numbers come out.
"""

import json
import os
import signal
import socket
import sys
import traceback

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(s, [len(said).to_bytes(4, "big")], [0, 1, 2])
    s.sendall(said)
    sys.exit(int(s.recv(8) or b"70"))
"""
_LONG = {"audit", "study", "table"}


def serve(address):
    import torch  # noqa: F401 - what takes long

    import whatelse.cli.app  # noqa: F401 - likewise
    import whatelse.study.audit  # noqa: F401 - likewise

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            asked, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os._exit(_answered(asked))
            asked.close()


def _answered(asked):
    size, streams, _, _ = socket.recv_fds(asked, 4, 3)
    said = b""
    while len(said) < int.from_bytes(size, "big"):
        said += asked.recv(65536)
    words, folder, environment = json.loads(said)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # As a call from a shell has it: packages may have come since this process began.
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place not in sys.path]
    code = _called(words)
    sys.stdout.flush()
    sys.stderr.flush()
    asked.sendall(str(code).encode())
    return 0


def _called(words):
    if set(words[:1]) & _LONG and "--on" not in words:
        words = [*words, "--on", "inline"]
    sys.argv = ["whatelse", *words]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - of the caller
    from whatelse import registry
    from whatelse.cli import app

    try:
        # What app reads as it is imported.
        for place in app._named(words):
            registry.add(place)
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
