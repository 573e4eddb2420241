#!/usr/bin/env python3
"""Makes crates/workload/assets/qwen3-tokenizer.json.gz from a tokenizer.json.

The asset is carried by every checkout and every binary, so it is written small: JSON without white
space, characters unescaped, each BPE merge as one string ("a b", which the tokenizers library reads as
it reads ["a", "b"]), and compressed by zopfli, whose output any gzip reader takes. Nothing is removed:
vocabulary, merges, added tokens, normalizer, pre-tokenizer and decoder all decide the ids.

usage: make-tokenizer-asset.py TOKENIZER_JSON OUT.json.gz     (needs the program `zopfli`)
"""

import hashlib
import json
import subprocess
import sys
import tempfile


def compact(tokenizer: dict) -> bytes:
    """The same tokenizer in fewer bytes; refuses what the short form of merges cannot say."""
    merges = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    for merge in merges:
        # One blank, between the halves; and the library skips lines that look like a version header.
        if merge.count(" ") != 1 or merge.startswith("#version"):
            raise SystemExit(f"merge {merge!r} cannot be written as one string")
    tokenizer["model"]["merges"] = merges
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()


def gzipped(content: bytes) -> bytes:
    """By zopfli, which wants a file it can seek in; it writes no time stamp, so the result repeats."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return subprocess.run(["zopfli", "--i15", "-c", file.name], stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        original = file.read()
    small = compact(json.loads(original))
    packed = gzipped(small)
    with open(target, "wb") as file:
        file.write(packed)
    print(f"read     {len(original):>9} bytes, sha256 {hashlib.sha256(original).hexdigest()}")
    print(f"inside   {len(small):>9} bytes, sha256 {hashlib.sha256(small).hexdigest()}")
    print(f"written  {len(packed):>9} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
