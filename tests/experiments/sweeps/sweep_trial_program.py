"""A trial for the tests of workers: metrics line by line, as training writes them, then a result.

Words: a, b and seed decide the score; lines, and pause in seconds a line; out; fail=STATUS.
"""

import json
import sys
import time
from pathlib import Path

words = dict(word.split("=", 1) for word in sys.argv[1:])
if "fail" in words:
    print("this trial fails")
    sys.exit(int(words["fail"]))
out = Path(words["out"])
out.mkdir(parents=True, exist_ok=True)
with (out / "starts").open("a") as file:
    file.write("started\n")
score = float(words.get("a", 0)) + 0.1 * float(words.get("b", 0)) + 0.01 * int(words.get("seed", 0))
metrics = out / "metrics.jsonl"
done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
for line in range(done, int(words.get("lines", 3))):
    time.sleep(float(words.get("pause", 0)))
    with metrics.open("a") as file:
        value = score * (line + 1) / int(words.get("lines", 3))
        file.write(json.dumps({"step": line, "val/score": value}) + "\n")
(out / "trial.json").write_text(json.dumps({"metrics": {"heldout/score": score}}))
