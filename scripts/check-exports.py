#!/usr/bin/env python3
"""Reads exports with the libraries that others read them with.

    check-exports.py hlog FILE             what the Python package hdrhistogram finds in an interval log, as JSON by tag
    check-exports.py schema SCHEMA FILE…   holds YAML files against a JSON schema; a line for each thing that is wrong
    check-exports.py records FOLDER        what pyarrow finds in a folder of records, table and lines, as JSON

Needs PyPI's hdrhistogram, or jsonschema and PyYAML, or pyarrow. Exit code 3 where they are missing, 1 where a file is wrong.
"""

import json
import sys

PERCENTILES = (50.0, 90.0, 99.0)
MISSING = 3


def histograms(path: str) -> dict:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    merged = {}
    lines = {}
    reader = HistogramLogReader(path, HdrHistogram(1, 3_600_000_000, 3))
    while True:
        interval = reader.get_next_interval_histogram()
        if interval is None:
            break
        tag = interval.get_tag()
        lines[tag] = lines.get(tag, 0) + 1
        if tag in merged:
            merged[tag].add(interval)
        else:
            merged[tag] = interval
    return {tag: found(histogram, lines[tag]) for tag, histogram in merged.items()}


def found(histogram, lines: int) -> dict:
    buckets = []
    for item in histogram.get_recorded_iterator():
        value = histogram.get_highest_equivalent_value(item.value_iterated_to)
        buckets.append([value, item.count_at_value_iterated_to])
    at = {str(p): histogram.get_value_at_percentile(p) for p in PERCENTILES}
    return {"lines": lines, "count": histogram.get_total_count(), "percentiles": at, "buckets": buckets}


def wrong(schema_path: str, paths: list) -> list:
    import jsonschema
    import yaml

    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    validator = jsonschema.validators.validator_for(schema)(schema)
    lines = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            # Instants stay text: a schema is about JSON.
            report = yaml.load(file, Loader=plain_loader(yaml))
        for error in validator.iter_errors(report):
            lines.append(f"{path}: {'/'.join(map(str, error.absolute_path))}: {error.message}")
    return lines


def records(folder: str) -> dict:
    """Both files row by row: where they differ, how many rows, and sums that a run's own figures can be held against."""
    import gzip
    import itertools

    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(f"{folder}/requests.parquet")
    rows = (row for batch in table.iter_batches() for row in batch.to_pylist())
    found = {"rows": 0, "differ": 0, "outcomes": {}, "ttftUs": [], "e2eUs": [], "outputTokens": 0, "numbers": 0}
    with gzip.open(f"{folder}/requests.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row, line in itertools.zip_longest(rows, lines):
            found["rows"] += 1
            record = json.loads(line) if line else None
            present = {key: value for key, value in (row or {}).items() if value is not None}
            if present != record:
                found["differ"] += 1
                continue
            outcome = record["outcome"]
            found["outcomes"][outcome] = found["outcomes"].get(outcome, 0) + 1
            found["numbers"] += record["request"]
            if outcome == "completed":
                found["outputTokens"] += record["outputTokens"]
                found["ttftUs"].append((record["firstTokenNs"] - record["sentNs"]) // 1000)
                found["e2eUs"].append((record["endedNs"] - record["sentNs"]) // 1000)
    for key in ("ttftUs", "e2eUs"):
        found[key] = {"count": len(found[key]), "sum": sum(found[key]), "max": max(found[key], default=None)}
    found["columns"] = table.schema_arrow.names
    return found


def plain_loader(yaml):
    class Plain(yaml.SafeLoader):
        pass

    resolvers = yaml.SafeLoader.yaml_implicit_resolvers
    Plain.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in resolvers.items()
    }
    return Plain


def main() -> int:
    verb, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    try:
        if verb == "hlog" and len(arguments) == 1:
            print(json.dumps(histograms(arguments[0])))
            return 0
        if verb == "records" and len(arguments) == 1:
            print(json.dumps(records(arguments[0])))
            return 0
        if verb == "schema" and len(arguments) >= 2:
            lines = wrong(arguments[0], arguments[1:])
            print("\n".join(lines))
            return 1 if lines else 0
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return MISSING
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
