#!/usr/bin/env python3
"""dsserve programs side by side on one GGUF file: closed-loop clients, in turns, medians of the rounds.

  benches/serve_side_by_side.py --model FILE.gguf before=PATH/dsserve after=PATH/dsserve

Each round starts every program anew on a free port of the loopback. Prompts differ from their first word on, so that no prefix is
shared. Needs Python's own library only; ends what it started. Units: tokens/s, seconds, MiB.
"""
import argparse
import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

WORDS = "time year people way day man thing woman life child world school state family student group country problem hand part".split()
READY_SECONDS = 120


def prompt(seed, tokens):
    choose = random.Random(seed)
    return " ".join(choose.choice(WORDS) for _ in range(tokens))


def ask(port, seed, options):
    """Time to first token, whole time and number of output tokens of one streamed completion."""
    body = {"model": "bench", "prompt": prompt(seed, options.prompt_tokens), "max_tokens": options.max_tokens, "temperature": 0,
            "stream": True, "stream_options": {"include_usage": True}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun, first, tokens = time.monotonic(), None, 0
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"status {answer.status}: {answer.read(500)!r}")
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[len(b"data: "):])
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
        if first is None and event.get("choices"):
            first = time.monotonic() - begun
    connection.close()
    return first, time.monotonic() - begun, tokens


def load(port, clients, seed, options):
    """All clients at once, each with its requests one after the other."""
    answers, lock = [], threading.Lock()

    def client(number):
        for request in range(options.requests):
            answer = ask(port, seed * 100_000 + number * 1000 + request, options)
            with lock:
                answers.append(answer)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    if len(answers) != clients * options.requests:
        sys.exit("a client failed")
    a_token = [(whole - first) / (tokens - 1) for first, whole, tokens in answers if tokens > 1]
    return {"output tokens/s": sum(tokens for _, _, tokens in answers) / seconds,
            "first token P50 (s)": statistics.median(first for first, _, _ in answers),
            "per output token P50 (s)": statistics.median(a_token) if a_token else float("nan")}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(port, program):
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and program.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("it did not become ready")


def most_memory(program):
    with open(f"/proc/{program.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def one_round(path, number, options):
    port = free_port()
    words = [path, "--model", options.model, "--served-model-name", "bench", "--listen", f"127.0.0.1:{port}", "--threads", str(options.threads)]
    program = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(port, program)
        figures = {("start", "most resident MiB"): most_memory(program)}
        for clients in options.clients:
            for what, figure in load(port, clients, number, options).items():
                figures[(f"{clients} clients", what)] = figure
        return figures
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2, help="of each client")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8])
    parser.add_argument("programs", nargs="+", metavar="NAME=PATH")
    options = parser.parse_args()
    programs = dict(text.split("=", 1) for text in options.programs)
    rounds = {name: [] for name in programs}
    for number in range(options.rounds):
        for name, path in programs.items():
            print(f"round {number + 1}: {name}", file=sys.stderr)
            rounds[name].append(one_round(path, number, options))
    names = list(programs)
    print("| | | " + " | ".join(names) + " | last to first |")
    print("|---|---|" + "---:|" * (len(names) + 1))
    for row in rounds[names[0]][0]:
        medians = [statistics.median(figures[row] for figures in rounds[name]) for name in names]
        print(f"| {row[0]} | {row[1]} | " + " | ".join(f"{median:.3g}" for median in medians) + f" | {medians[-1] / medians[0]:.2f} |")


if __name__ == "__main__":
    main()
