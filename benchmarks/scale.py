"""Many rows: what a mapping costs beside a bare loop, and whether kills lose a row.

python benchmarks/scale.py rows --rows 1000000   # a trivial chain against a bare Python loop over the same files
python benchmarks/scale.py model --rows 96       # a program on SmolLM2 against one batch of the engine
python benchmarks/scale.py kills --kills 100     # kill -9 at random moments of a run of 20,000 rows
python benchmarks/scale.py prefixes --model smollm2.gguf  # CPU to the first token in a second process
python benchmarks/scale.py torn --model smollm2.gguf --lengths 500 --kills 30  # kill -9 while a prefix is written
python benchmarks/scale.py ray --rows 20000      # a trivial function in actors of Ray against this process
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEAK = "import resource; print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
BARE = """
import json, sys, time
import chainkit
chain = chainkit.chain(lambda row: row["text"], str.upper)
start = time.process_time()
with open(sys.argv[1], encoding="utf-8") as source, open(sys.argv[2], "w", encoding="utf-8") as target:
    for line in source:
        row = json.loads(line)
        row["output"] = chain.invoke(row)
        target.write(json.dumps(row, ensure_ascii=False) + "\\n")
print("cpu", time.process_time() - start)
"""
MAPPED = """
import sys, time
import chainkit
chain = chainkit.chain(lambda row: row["text"], str.upper)
start = time.process_time()
began = time.time()
report = chainkit.map_rows(chain, sys.argv[1], sys.argv[2])
print("cpu", time.process_time() - start)
print("rows_per_second", report.done / (time.time() - began))
"""
WORDS = (
    "the",
    "film",
    "was",
    "a",
    "long",
    "and",
    "very",
    "slow",
    "story",
    "but",
    "I",
    "liked",
    "its",
    "music",
    "and",
    "us",
)


def script(code, *arguments):
    told = subprocess.run(
        [sys.executable, "-c", code + PEAK, *map(str, arguments)], capture_output=True, check=True, text=True
    )
    return {name: float(value) for name, value in map(str.split, told.stdout.splitlines())}


def rows(options):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for n in range(options.rows):
                file.write(
                    json.dumps({"id": n, "text": f"Text number {n} of a long file, with some words in it."}) + "\n"
                )
        bare, ours = [], []
        for turn in range(options.rounds):
            bare.append(script(BARE, source, Path(folder) / f"bare{turn}.jsonl"))
            ours.append(script(MAPPED, source, Path(folder) / f"ours{turn}.jsonl"))
        same = (Path(folder) / "bare0.jsonl").read_text().count("\n") == (
            Path(folder) / "ours0.jsonl"
        ).read_text().count("\n")
    loop, mapped = min(one["cpu"] for one in bare), min(one["cpu"] for one in ours)
    print(f"{options.rows:,} rows, same number of lines: {same}")
    print(f"bare loop {loop:.1f} CPU s, map_rows {mapped:.1f} CPU s: {mapped / loop:.2f} times")
    print(f"{max(one['rows_per_second'] for one in ours):,.0f} rows/s; peak {max(one['peak'] for one in ours):.0f} MB")


def model(options):
    """Rows through a program on SmolLM2, beside batches of the engine before and after."""
    os.environ["CHAINKIT_PROGRAM_CACHE"] = os.environ["CHAINKIT_PREFIX_CACHE"] = "off"
    import chainkit

    program = chainkit.program(
        "Say of each review whether it is good or bad.\nReview: {{text}}\n"
        f"It is{{{{gen 'a' max_tokens={options.tokens}}}}}",
        "smollm2",
    )
    chance = random.Random(0)
    made = [{"text": " ".join(chance.choices(WORDS, k=4 + n % 6))} for n in range(options.rows)]
    program(made[0])
    used = []

    def counted(row):
        run = program.invoke(row)
        used.append(run.usage.sampled + run.usage.forced)
        return run

    def batch():
        start = time.process_time()
        runs = program.batch(made[: options.sample])
        return sum(run.usage.sampled + run.usage.forced for run in runs) / (time.process_time() - start)

    with tempfile.TemporaryDirectory() as folder:
        before, memory, start = batch(), peak(), time.process_time()
        report = chainkit.map_rows(counted, made, Path(folder) / "out.jsonl", concurrency=16)
        cpu = time.process_time() - start
        grown, after = peak() - memory, batch()
        lines = (Path(folder) / "out.jsonl").read_bytes().count(b"\n")
    mapped = sum(used) / cpu
    print(
        f"{options.rows} rows ({lines} in the file, {report.failed} failed), {cpu:.0f} s of CPU, peak memory grew by "
        f"{grown:.0f} MB; tokens per CPU s: map_rows {mapped:.1f}, batch of {len(made[: options.sample])} before "
        f"{before:.1f}, after {after:.1f}: {2 * mapped / (before + after):.2f} times"
    )


def peak():
    """Largest resident memory of this process so far, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PREFIXED = """
import hashlib, json, sys, time
import numpy as np
from chainkit.backends.llama_cpp import prefixes
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.generation import GenerationRequest
from chainkit.local.session import LocalSession

spent = []


def timed(call):
    def timing(*given):
        start = time.thread_time()
        done = call(*given)
        spent.append(time.thread_time() - start)
        return done

    return timing


for name in ("restore", "keep", "_write"):
    setattr(prefixes.DiskPrefixes, name, timed(getattr(prefixes.DiskPrefixes, name)))
model = GGUFModel(model=sys.argv[1], n_threads=1, probe=False).load()
length, question = map(int, sys.argv[2:])
tokens = [int(token) for seed, count in ((0, length), (question, 20))
          for token in np.random.default_rng(seed).integers(300, 40_000, count)]
start = time.process_time()
session = LocalSession(model.runtime).append([model.runtime.vocabulary.bos or 1, *tokens])
logits = session.logits().tobytes()
first = time.process_time() - start
text = "".join(piece.text for piece in session.generate(GenerationRequest(max_tokens=16)))
prefixes.written(60)
print(json.dumps({"first": first, "files": sum(spent), "cached": session.counters.cached,
                  "same": hashlib.sha256(logits + text.encode()).hexdigest()}))
"""


def prefixes(options):
    """Pairs of processes, one without files: they ask another question after the same beginning."""
    with tempfile.TemporaryDirectory() as home:

        def asked(length, question, setting):
            environment = os.environ | {"CHAINKIT_HOME": home, "CHAINKIT_PREFIX_CACHE": setting}
            command = [sys.executable, "-c", PREFIXED, options.model, str(length), str(question)]
            return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

        for length in options.lengths:
            kept, same, costs, parts = Path(home, "cache", "prefixes"), True, [], []
            for question in range(1, options.rounds + 1):
                off = asked(length, question, "off")
                for file in kept.glob("*.kv"):
                    file.unlink()
                new = asked(length, question, "1GB")
                again = asked(length, 100 + question, "1GB")
                without = asked(length, 100 + question, "off")
                same = same and (off["same"], without["same"]) == (new["same"], again["same"])
                costs.append(new["files"] / off["first"])
                parts.append(again["first"] / without["first"])
            print(
                f"{length} tokens: {again['cached']} taken from files; CPU to the first token "
                f"{100 * statistics.median(parts):.1f} % of {without['first']:.2f} s (each: "
                f"{', '.join(f'{100 * part:.1f}' for part in parts)}); the first time costs "
                f"{100 * statistics.median(costs):.1f} % more; same bits: {same}"
            )


def torn(options):
    """kill -9 while the prefix of a real model is written; each time a new process asks after the same beginning."""
    chance, length, hits, whole = random.Random(1), options.lengths[0], 0, 0
    with tempfile.TemporaryDirectory() as home:
        kept = Path(home, "cache", "prefixes")
        environment = os.environ | {"CHAINKIT_HOME": home}

        def command(question):
            return [sys.executable, "-c", PREFIXED, options.model, str(length), str(question)]

        def asked(setting):
            told = subprocess.run(
                command(2), env=environment | {"CHAINKIT_PREFIX_CACHE": setting}, capture_output=True, check=True
            )
            return json.loads(told.stdout)

        expected, wrong = asked("off")["same"], 0
        for _ in range(options.kills):
            for file in kept.glob("*"):
                file.unlink()
            process = subprocess.Popen(
                command(1), env=environment | {"CHAINKIT_PREFIX_CACHE": "1GB"}, stdout=subprocess.DEVNULL
            )
            while process.poll() is None and not any(kept.glob("*")):
                time.sleep(0.0005)
            time.sleep(chance.uniform(0, options.after))
            hits += process.poll() is None
            process.kill()
            process.wait()
            whole += any(kept.glob("*.kv"))
            wrong += asked("1GB")["same"] != expected
    print(
        f"{hits} of {options.kills} kills hit a process that had begun to write {length} tokens, {whole} left a whole "
        f"file; {wrong} of {options.kills} next processes got other bits"
    )


def on_ray(options):
    """The same rows in this process and in two actors of a Ray on this machine."""
    import ray

    import chainkit

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    made = [{"text": f"Text number {n} of a long list."} for n in range(options.rows)]
    with tempfile.TemporaryDirectory() as folder:
        files = {engine: Path(folder) / f"{engine}.jsonl" for engine in ("local", "ray")}
        for engine, count in (("local", None), ("ray", 2)):
            wall, start = time.time(), time.process_time()
            chainkit.map_rows(lambda row: row["text"].upper(), made, files[engine], engine=engine, concurrency=count)
            cpu, wall = time.process_time() - start, time.time() - wall
            print(f"{engine}: {cpu:.2f} s of CPU in this process, {wall:.1f} s; {options.rows / cpu:,.0f} rows a CPU s")
        print("same output:", files["local"].read_bytes() == files["ray"].read_bytes())


def kills(options):
    """As the slow test does it, with as many kills as are wanted."""
    from chainkit.scale.mapping import map_rows
    from tests.scale import mapped

    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        source.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1, 20_001)))
        hits = sum(mapped.kill(source, out, True, 4, chance.uniform(0, 0.1)) for _ in range(options.kills))
        reached = out.read_bytes().count(b"\n") if out.exists() else 0
        map_rows(mapped.worked, source, out, concurrency=4)
        found = collections.Counter(json.loads(line)["_row"] for line in out.read_text().splitlines())
        found.update(json.loads(line)["_row"] for line in Path(f"{out}.failed.jsonl").read_text().splitlines())
    once = sum(count == 1 for count in found.values())
    print(
        f"{hits} of {options.kills} kills hit a run, which then had {reached} rows; {once} of 20000 rows exactly once"
    )


def answers(options):
    """Processes that read and write at once, and a hit beside a call through the same chain."""
    import chainkit
    from chainkit.scale import AnswerCache
    from tests.scale import cache_users

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.sqlite"
        started = []
        for seed in range(8):
            hear, tell = cache_users.CONTEXT.Pipe(duplex=False)
            process = cache_users.CONTEXT.Process(target=cache_users.use, args=(path, options.seconds, seed, tell))
            process.start()
            started.append((process, hear))
        told = [(hear.recv(), hear.recv())[1] for _, hear in started]
        for process, _ in started:
            process.join()
        reads, writes, wrong, lost = map(sum, zip(*told, strict=True))
        print(f"8 processes, {options.seconds} s: {reads:,} reads, {writes:,} writes, {wrong} wrong, {lost} lost")
        cache = AnswerCache(Path(folder) / "hits.sqlite")
        prompt = chainkit.prompt("Tell me about {topic}")
        plain, cached = prompt | chainkit.chat_model("fake:"), prompt | chainkit.chat_model("fake:", cache=cache)
        key = ("Tell me about bees" * 20, cache_users.MODEL)
        cache.update(*key, cache_users.answer(1))
        for name, call in (
            ("fake model through a chain", lambda: plain.invoke({"topic": "bees"})),
            ("hit through the same chain", lambda: cached.invoke({"topic": "bees"})),
            ("lookup of a hit alone", lambda: cache.lookup(*key)),
        ):
            call()
            start = time.process_time()
            for _ in range(2000):
                call()
            print(f"{name}: {(time.process_time() - start) / 2000 * 1e6:.0f} us of CPU")
        cache.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["rows", "model", "kills", "answers", "prefixes", "torn", "ray"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=12, help="model: tokens that a row generates at most")
    parser.add_argument("--sample", type=int, default=96, help="model: rows of the engine's own batch")
    parser.add_argument("--after", type=float, default=0.05, help="torn: longest wait before a kill, seconds")
    parser.add_argument("--model", help="a GGUF file")
    parser.add_argument("--lengths", type=int, nargs="*", default=[200, 1000, 2000])
    options = parser.parse_args()
    what = {"rows": rows, "model": model, "kills": kills, "answers": answers, "prefixes": prefixes, "torn": torn}
    what["ray"] = on_ray
    what[options.what](options)


if __name__ == "__main__":
    main()
