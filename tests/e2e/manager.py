# SPDX-License-Identifier: MIT
"""A service manager that keeps a daemon's descriptors, as systemd does."""
import array
import os
import shutil
import socket
import tempfile

from harness import Daemon, equal


class Manager:
    """A service manager as far as a daemon with a descriptor store sees it: the notify socket, and
    descriptors with names handed to the next process."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="hearth-manager-")
        self.path = os.path.join(self.dir, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.kept = {}

    def receive(self):
        """Takes what the daemon has sent so far."""
        self.socket.setblocking(False)
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(4096, 1024)
            except BlockingIOError:
                return
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
            if "FDSTOREREMOVE" in fields and fields["FDNAME"] in self.kept:
                os.close(self.kept.pop(fields["FDNAME"]))
            if "FDSTORE" in fields:
                equal(len(fds), 1)
                self.kept[fields["FDNAME"]] = fds[0]

    def start(self, models=None, more=("--device", "cpu", "--hugetlb", "yes"), wait=True):
        """A daemon that gets what is kept; models: the directory of another, to go on with."""
        self.receive()
        more = [*more, "--model-dir", models] if models else more
        return Daemon(*more, model_dir=not models, env={"NOTIFY_SOCKET": self.path}, handed=self.kept.items(),
                      wait=wait)

    def close(self):
        for fd in self.kept.values():
            os.close(fd)
        self.socket.close()
        shutil.rmtree(self.dir)
