#!/usr/bin/env python3
"""dsserve's engine beside llama.cpp's on one GGUF file, without clients: prompts, and answers of several sequences together.

    benches/engine_side_by_side.py --dsserve target/release/dsserve --llama FOLDER --model FILE.gguf [--rounds 3]

FOLDER is the one of benches/correctness.py. Both run in turns, in processes of their own, with the same threads, prompts and
answers; medians of the rounds, tokens/s, and ratios of ours to theirs.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess

import llama_cpp


def ours(options):
    command = [options.dsserve, "bench", "--output", "json", "--model", options.model, "--threads", str(options.threads)]
    command += ["--prompt", str(options.prompt), "--answer", str(options.answer), "--sequences", options.sequences]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    rates = {"prompts": report["prompt_rate"]}
    return rates | {f"answers, {answer['sequences']}": answer["rate"] for answer in report["answers"]}


def measure_theirs(options, results):
    model = llama_cpp.Library(options.llama).open(options.model)
    rates = {}
    for sequences in map(int, options.sequences.split(",")):
        prompt, answer = model.rates(options.threads, options.prompt, options.answer, sequences)
        rates["prompts"] = max(prompt, rates.get("prompts", 0))
        rates[f"answers, {sequences}"] = answer
    results.put(rates)


def theirs(options):
    results = multiprocessing.Queue()
    process = multiprocessing.Process(target=measure_theirs, args=(options, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"llama.cpp ended with {process.exitcode}")
    return results.get()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsserve", required=True)
    parser.add_argument("--llama", required=True, metavar="FOLDER")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--answer", type=int, default=32)
    parser.add_argument("--sequences", default="1,4,8")
    options = parser.parse_args()
    rounds = [(ours(options), theirs(options)) for _ in range(options.rounds)]
    print("| tokens/s | dsserve | llama.cpp | ratio |\n|---|---:|---:|---:|")
    for name in rounds[0][0]:
        mine, other = (statistics.median(one[side][name] for one in rounds) for side in (0, 1))
        print(f"| {name} | {mine:.1f} | {other:.1f} | {mine / other:.2f} |")
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
