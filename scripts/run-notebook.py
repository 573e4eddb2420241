#!/usr/bin/env python3
"""Runs every cell of a notebook and writes it with its outputs; a cell that fails ends it with that cell's error.

    run-notebook.py NOTEBOOK TO

What differs from run to run and says nothing (times of execution) is left out, so that a diff shows what changed.
"""

import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

# A committed notebook is read in a browser and in diffs.
MOST_BYTES = 200_000


def main() -> int:
    source, to = sys.argv[1:]
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False)
    try:
        client.execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    text = nbformat.writes(notebook)
    if len(text) > MOST_BYTES:
        print(f"{len(text)} bytes with its outputs: more than {MOST_BYTES}", file=sys.stderr)
        return 1
    with open(to, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{source}: {cells} cells ran, {len(text)} bytes with their outputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
