"""What the server costs and bears: python -m benchmarks.serve [request | parallel | load] [MODEL.gguf]

`request` compares the CPU time of the server's process per request with that of the same calls in a process of their
own. `parallel` compares tokens per second with four clients with the engine's own rate for four texts at once and with
llama.cpp's server on the same file. `load` lets 200 clients ask for a minute and looks at errors, memory and /health.

Each side has a process of its own. Rounds are interleaved and the best of each counts, because other processes disturb
all alike.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured

DEMO = Path(__file__).parent.parent / "examples" / "demo_model" / "demo-q8_0.gguf"
QUESTION = [{"role": "user", "content": "name: Ada, keeps: bees. What does Ada keep?"}]
ROUNDS, REQUESTS, AT_ONCE, CLIENTS, TOKENS = 2, 160, 8, 4, 32


@contextmanager
def served(*arguments):
    """`chainkit serve` in a process of its own: its address and its process."""
    command = [sys.executable, "-m", "chainkit", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if match := re.search(r"listening on (\S+)/v1", line):
                break
        else:
            raise SystemExit("the server did not start")
        yield match[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def cpu(process):
    used = process.cpu_times()
    return used.user + used.system


# --- CPU per request -------------------------------------------------------------------------------------------------


def in_process(spec, count, settings, queue, go):
    """CPU milliseconds per call of a model in this process, a few at once, whole or streamed as it is told."""
    from langchain_core.messages import HumanMessage

    import chainkit

    model = chainkit.chat_model(spec)
    messages = [HumanMessage(QUESTION[0]["content"])]
    calls = {
        False: lambda _: model.invoke(messages, **settings),
        True: lambda _: sum(1 for _ in model.stream(messages, **settings)),
    }
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while (stream := go.get()) is not None:
            begin = time.process_time()
            list(threads.map(calls[stream], range(count)))
            queue.put((time.process_time() - begin) / count * 1000)


def over_http(client, process, name, count, settings, *, stream):
    """The same of the server's process."""
    body = {"model": name, "messages": QUESTION, "stream": stream, **settings}
    begin = cpu(process)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for reply in threads.map(lambda _: client.post("/v1/chat/completions", json=body), range(count)):
            reply.raise_for_status()
    return (cpu(process) - begin) / count * 1000


@contextmanager
def beside(spec, count, settings):
    """What `in_process` finds, in a process of its own: a function that has it done once more."""
    context = multiprocessing.get_context("spawn")
    queue, go = context.Queue(), context.Queue()
    own = context.Process(target=in_process, args=(spec, count, settings, queue, go))
    own.start()

    def once(stream):
        go.put(stream)
        return queue.get()

    try:
        yield once
    finally:
        go.put(None)
        own.join()


def request(path, rounds=ROUNDS + 1, count=REQUESTS):
    """Added by the server, the least of some rounds in which all four take turns; the median of the differences too."""
    spec = f"gguf:{path}?n_threads=1"
    rows = [("fake", "fake:", {}), ("16 tokens", spec, {"max_tokens": 16}), ("64 tokens", spec, {"max_tokens": 64})]
    with served("fake=fake:", f"demo={spec}") as (address, process), httpx2.Client(base_url=address) as client:
        print("CPU ms per request | invoke | server | added, median | stream | server, streamed | added, median")
        for name, model, settings in rows:
            called = "fake" if name == "fake" else "demo"
            found = {"whole": ([], []), "streamed": ([], [])}
            with beside(model, count, settings) as once:
                for turn in range(rounds + 1):
                    for (own, over), stream in zip(found.values(), (False, True), strict=True):
                        pair = once(stream), over_http(client, process, called, count, settings, stream=stream)
                        if turn:  # the first one loads the model
                            own.append(pair[0])
                            over.append(pair[1])
            cells = [name]
            for own, over in found.values():
                added = statistics.median(there - here for here, there in zip(own, over, strict=True))
                cells += [f"{min(own):.2f}", f"{min(over):.2f}", f"{min(over) - min(own):.2f}, {added:.2f}"]
            print(" | ".join(cells))


# --- four at once ----------------------------------------------------------------------------------------------------


def prompts(round_):
    return [f"Round {round_}, text {place}: tell a long story about a cat." for place in range(CLIENTS)]


def engine(spec, queue, go):
    """Tokens per second of four texts that are written at once, in this process."""
    import chainkit

    model = chainkit.llm(spec)
    while (round_ := go.get()) is not None:
        own = psutil.Process()
        begin, used = time.perf_counter(), cpu(own)
        result = model.generate(prompts(round_), max_tokens=TOKENS)
        spent = time.perf_counter() - begin, cpu(own) - used
        queue.put((result.llm_output["token_usage"]["completion_tokens"], *spent))


async def clients(address, name, round_, tokens=TOKENS):
    async def one(client, prompt):
        body = {"model": name, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        reply = await client.post("/v1/completions", json=body)
        reply.raise_for_status()
        return reply.json()["usage"]["completion_tokens"]

    async with httpx2.AsyncClient(base_url=address, timeout=600) as client:
        return sum(await asyncio.gather(*(one(client, prompt) for prompt in prompts(round_))))


def measured(address, name, process, round_):
    begin, used = time.perf_counter(), cpu(process)
    tokens = asyncio.run(clients(address, name, round_))
    return tokens, time.perf_counter() - begin, cpu(process) - used


def llama_server(path, threads, queue):
    """llama.cpp's own server, in this process until it is ended."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.port = 4 * 1024, CLIENTS, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)
    queue.put(server.listening_address)
    time.sleep(100_000)


def parallel(path, threads=2):
    context = multiprocessing.get_context("spawn")
    # as the server opens it: what is read in narrower passes costs both the same
    spec = f"gguf:{path}?n_threads={threads}&context_length=1024&stop_repetition=false&repeatable=true"
    queue, go, other = context.Queue(), context.Queue(), context.Queue()
    own = context.Process(target=engine, args=(spec, queue, go))
    theirs = context.Process(target=llama_server, args=(path, threads, other))
    own.start()
    theirs.start()
    found = {"engine": [], "chainkit serve": [], "llama.cpp server": []}
    try:
        with served(f"m={spec}") as (address, process):
            llama = other.get(timeout=120)
            for round_ in range(ROUNDS + 1):
                go.put(round_)
                rows = [
                    ("engine", queue.get()),
                    ("chainkit serve", measured(address, "m", process, round_)),
                    ("llama.cpp server", measured(llama, "m", psutil.Process(theirs.pid), round_)),
                ]
                for name, row in rows if round_ else ():  # the first one loads the model
                    found[name].append(row)
    finally:
        go.put(None)
        own.join(20)
        theirs.terminate()
    print("tokens per second | best | median | tokens per CPU second, best")
    for name, rows in found.items():
        rates = [tokens / wall for tokens, wall, _ in rows]
        per_cpu = max(tokens / used for tokens, _, used in rows)
        print(f"{name} | {max(rates):.1f} | {statistics.median(rates):.1f} | {per_cpu:.1f}")


# --- load ------------------------------------------------------------------------------------------------------------


async def one_client(client, name, until, counts, number):
    body = {"model": name, "messages": QUESTION, "max_tokens": 16 + number % 17, "stream": bool(number % 2)}
    while time.monotonic() < until:
        try:
            reply = await client.post("/v1/chat/completions", json=body)
            whole = reply.status_code != 200 or not body["stream"] or reply.text.endswith("data: [DONE]\n\n")
            status = str(reply.status_code) if whole else "broken stream"
        except httpx2.HTTPError as error:
            status = type(error).__name__
        counts[status] = counts.get(status, 0) + 1
        if status == "429":
            await asyncio.sleep(min(5.0, float(reply.headers["retry-after"])))


async def watch(addresses, until, found, process, memory):
    """Ask each server for its /health now and then; `found` gets the seconds of each."""
    async with httpx2.AsyncClient(timeout=30) as client:
        while time.monotonic() < until:
            for address, seconds in zip(addresses, found, strict=True):
                begin = time.perf_counter()
                (await client.get(f"{address}/health")).raise_for_status()
                seconds.append(time.perf_counter() - begin)
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.05)


async def crowd(address, people, length):
    counts = {}
    until = time.monotonic() + length
    limits = httpx2.Limits(max_connections=people, max_keepalive_connections=people)
    async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        await asyncio.gather(*(one_client(client, "demo", until, counts, number) for number in range(people)))
    return counts


def watched(addresses, pid, length, queue):
    """/health asked from a process of its own, so that the 200 clients' own work does not count."""
    found, memory = [[] for _ in addresses], []
    asyncio.run(watch(addresses, time.monotonic() + length, found, psutil.Process(pid), memory))
    queue.put((found, memory))


def load(path, people=200, length=60):
    spec = f"gguf:{path}?n_threads=1"
    with served(f"demo={spec}") as (address, process), served("idle=fake:") as (idle, _):
        httpx2.post(f"{address}/v1/chat/completions", json={"model": "demo", "messages": QUESTION}, timeout=60)
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        watcher = context.Process(target=watched, args=((address, idle), process.pid, length, queue))
        watcher.start()
        counts = asyncio.run(crowd(address, people, length))
        found, memory = queue.get()
        watcher.join()
    print(json.dumps(dict(sorted(counts.items()))))
    print("/health, ms | times | p50 | p99 | most")
    for name, seconds in zip(("under load", "of an idle server beside it"), found, strict=True):
        seconds.sort()
        told = [seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)], seconds[-1]]
        print(f"{name} | {len(seconds)} | " + " | ".join(f"{one * 1e3:.1f}" for one in told))
    early = statistics.median(memory[len(memory) // 6 : len(memory) // 3])
    late = statistics.median(memory[-len(memory) // 6 :])
    print(f"memory: {early / 1e6:.1f} MB in the second sixth, {late / 1e6:.1f} MB in the last")


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "request"
    model = Path(sys.argv[2]) if len(sys.argv) > 2 else DEMO
    more = [int(number) for number in sys.argv[3:]]  # of `load`: clients and seconds
    {"request": request, "parallel": parallel, "load": load}[wanted](model, *more)
