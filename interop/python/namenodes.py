"""Lets clients that know one NameNode, such as fsspec, find whichever is active."""

import time
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter


class NameNodes(HTTPAdapter):
    """Sends requests to a NameNode of the list to the one that is active, and all others as they are.

    Use it as the adapter of a session: session.mount("http://", NameNodes(["nn1:9870", "nn2:9870"])).
    """

    def __init__(self, addresses, patience_seconds=60):
        super().__init__()
        self.addresses = list(addresses)
        self.patience_seconds = patience_seconds

    def send(self, request, **how):
        if urlsplit(request.url).netloc not in self.addresses:
            return super().send(request, **how)
        end = time.monotonic() + self.patience_seconds
        while True:
            for address in list(self.addresses):
                request.url = urlunsplit(urlsplit(request.url)._replace(netloc=address))
                try:
                    answer = super().send(request, **how)
                    if not is_inactive(answer):
                        # The next request goes there first.
                        self.addresses.sort(key=lambda known: known != address)
                        return answer
                except requests.ConnectionError:
                    answer = None
                if time.monotonic() > end:
                    if answer is None:
                        raise requests.ConnectionError("no NameNode is active")
                    return answer
            time.sleep(0.05)


def is_inactive(answer):
    """Whether a NameNode says that another one should be asked."""
    if answer.status_code != 403:
        return False
    try:
        return answer.json()["RemoteException"]["exception"] in ("StandbyException", "RetriableException")
    except (ValueError, KeyError):
        return False
