#!/usr/bin/env bash
# How long `dsctl --help` and a warm `dsctl plan` take. Fails if a median misses its mark: 20 ms and 1 s. See README.md.
#
#   BENCH_CACHE=DIR benches/startup.sh
set -euo pipefail
BENCHES=$(cd "$(dirname "$0")" && pwd)
. "$BENCHES/common.sh"
environment "$BENCHES/../tests/python/aws-requirements.txt"
cloud
"$PYTHON" "$BENCHES/startup.py"
