"""Medians of runs of dsctl, one after the other; run by startup.sh, which sets the environment."""

import os, statistics, subprocess, sys, time

DSCTL = os.environ["DSCTL"]
SPEC = ["--cloud", "aws", "--model", "70b-int8", "--binaries", os.environ["BINARIES"]]

def once(words):
    begun = time.monotonic()
    done = subprocess.run([DSCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return (time.monotonic() - begun) * 1000

def measured(what, words, runs, most):
    once(words)  # Warms file cache and moto.
    times = sorted(once(words) for _ in range(runs))
    median = statistics.median(times)
    print(f"| {what} | {runs} | {median:.1f} | {times[0]:.1f} to {times[-1]:.1f} | {most} | {'yes' if median < most else 'NO'} |")
    return median < most

print(f"{DSCTL}\n\n| what | runs | median ms | least to most | below | kept |\n|---|---:|---:|---:|---:|---|")
kept = [measured("dsctl --help", ["--help"], 50, 20), measured("dsctl plan, nothing there yet", ["plan", *SPEC], 10, 1000)]
once(["up", *SPEC, "--no-wait", "--yes"])
kept.append(measured("dsctl plan, all there", ["plan", *SPEC], 10, 1000))
sys.exit(not all(kept))
