#!/usr/bin/env bash
# dsctl, boto3 by hand and Ansible's amazon.aws side by side on one moto: seconds and API calls. See README.md.
#
#   BENCH_CACHE=DIR ROUNDS=5 benches/aws_side_by_side.sh
set -euo pipefail
BENCHES=$(cd "$(dirname "$0")" && pwd)
. "$BENCHES/common.sh"
environment "$BENCHES/../tests/python/aws-requirements.txt" "$BENCHES/requirements.txt"
cloud
"$PYTHON" "$BENCHES/side_by_side.py" "${ROUNDS:-5}" "$SCRATCH"
