"""Users' clients of WebHDFS. A line of stdin is an order, and is answered by a line.

round N: creates a file, appends to it, reads it, renames it, and lists it. It answers "ok", or "ok again" if the rename was
    done by an attempt whose answer was lost.
verify N: everything that was acknowledged in rounds below N is there.

An answer "error ..." is what the user would have seen.
"""

import sys

import hdfs
import requests
from fsspec.implementations.webhdfs import WebHDFS

from namenodes import NameNodes


def content(number):
    return f"{number:08} ".encode() * 2000


class Hdfs:
    """The package hdfs. It asks each URL of its list once within a call, and a failover may lead to a NameNode that it has
    asked already. So each NameNode stands there twice, as two different URLs."""

    def __init__(self, namenodes):
        urls = [f"http://{namenode}" for namenode in namenodes]
        again = [f"{url}/" for url in urls]
        self.client = hdfs.InsecureClient(";".join(urls + again), user="alice")

    def write_twice(self, path, data):
        self.client.write(path, data)
        self.client.write(path, data, append=True)

    def read(self, path):
        with self.client.read(path) as reader:
            return reader.read()

    def rename(self, source, target):
        try:
            self.client.rename(source, target)
        except hdfs.HdfsError:
            return False
        return True

    def exists(self, path):
        return self.client.status(path, strict=False) is not None

    def names(self, path):
        return self.client.list(path)


class Fsspec:
    """The package fsspec. It knows one NameNode, and an adapter of its session knows all."""

    def __init__(self, namenodes):
        host, port = namenodes[0].split(":")
        self.fs = WebHDFS(host, int(port), user="alice", skip_instance_cache=True)
        self.fs.session.mount("http://", NameNodes(namenodes))

    def write_twice(self, path, data):
        # A file that is opened with "ab" has no address to which it could send. One that is created is appended to with
        # each block of the client.
        with self.fs.open(path, "wb", block_size=len(data)) as file:
            file.write(data)
            file.flush()
            file.write(data)

    def read(self, path):
        return self.fs.cat_file(path)

    def rename(self, source, target):
        self.fs.mv(source, target)
        # It does not tell what the NameNode has answered.
        return self.fs.exists(target)

    def exists(self, path):
        return self.fs.exists(path)

    def names(self, path):
        return [name.rsplit("/", 1)[1] for name in self.fs.ls(path, detail=False)]


def do_round(client, base, number):
    source, target = f"{base}/new-{number}", f"{base}/{number}"
    half = content(number)
    client.write_twice(source, half)
    assert client.read(source) == half * 2, f"{source} is not what was written"
    renamed = client.rename(source, target)
    # The second attempt of a rename finds that there is nothing to do, and is answered with false.
    assert renamed or (client.exists(target) and not client.exists(source)), f"{source} was not renamed"
    assert str(number) in client.names(base), f"{target} is not listed"
    return "ok" if renamed else "ok again"


def verify(client, base, number):
    names = set(client.names(base))
    for n in range(number):
        assert str(n) in names, f"{base}/{n} is lost"
        assert client.read(f"{base}/{n}") == content(n) * 2, f"{base}/{n} is not what was written"
    return "ok"


def main(kind, base, *namenodes):
    client = {"hdfs": Hdfs, "fsspec": Fsspec}[kind](namenodes)
    for line in sys.stdin:
        order, number = line.split()
        try:
            answer = {"round": do_round, "verify": verify}[order](client, base, int(number))
        except (AssertionError, OSError, RuntimeError, ValueError, hdfs.HdfsError, requests.RequestException) as error:
            answer = f"error {type(error).__name__}: {' '.join(str(error).split())}"
        print(answer, flush=True)


main(*sys.argv[1:])
