"""Reads /metrics of each given address as Prometheus does, by the reference parsers, and is stricter than they are.

Prints a line for each address. Anything that is wrong ends it with an error.
"""

import sys
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

TYPES = {"counter", "gauge", "histogram"}
OPENMETRICS = "application/openmetrics-text"


def get(address, accept):
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def check(parse, text, where):
    """The families of a text by name, with their types."""
    known, series = {}, set()
    for family in parse(text):
        assert family.name not in known, f"{where}: {family.name} is there twice"
        assert family.type in TYPES, f"{where}: {family.name} has the type {family.type}"
        assert family.documentation, f"{where}: {family.name} has no help"
        assert family.samples, f"{where}: {family.name} has no sample"
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in series, f"{where}: {key} is there twice"
            series.add(key)
            if family.type == "counter":
                assert sample.name == family.name + "_total", f"{where}: {sample.name} is a counter"
                assert sample.value >= 0, f"{where}: {sample.name} is negative"
        known[family.name] = family.type
    # A parser may drop a line that is there twice.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(series), f"{where}: {len(lines)} lines have {len(series)} series"
    return known


def main(addresses):
    for address in addresses:
        kind, text = get(address, "text/plain;version=0.0.4")
        assert kind.startswith("text/plain; version=0.0.4"), kind
        plain = check(parser.text_string_to_metric_families, text, f"{address} text")
        kind, text = get(address, f"{OPENMETRICS};version=1.0.0")
        assert kind.startswith(f"{OPENMETRICS}; version=1.0.0"), kind
        assert text.endswith("# EOF\n"), "no end mark"
        strict = check(openmetrics_parser.text_string_to_metric_families, text, f"{address} OpenMetrics")
        # A family may appear between the two questions.
        for name in plain.keys() & strict.keys():
            assert plain[name] == strict[name], f"{address}: {name} is {plain[name]} and {strict[name]}"
        assert plain.keys() <= strict.keys(), f"{address}: OpenMetrics lacks {plain.keys() - strict.keys()}"
        print(f"{address} {len(strict)}")


main(sys.argv[1:])
