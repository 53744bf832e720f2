# What the benches share: a Python of their own, a cloud on loopback, a dsctl that goes there. Sourced; needs BENCHES.
#
# BENCH_CACHE   folder that keeps the Python environment between runs (default: a temporary one)
# DSCTL         the dsctl to measure (default: $CARGO_TARGET_DIR/release/dsctl, else .../debug/dsctl)

TARGET=${CARGO_TARGET_DIR:-$BENCHES/../target}
for built in release debug; do
    [ -z "${DSCTL:-}" ] && [ -x "$TARGET/$built/dsctl" ] && DSCTL=$TARGET/$built/dsctl
done
[ -x "${DSCTL:-}" ] || { echo "no dsctl: cargo build --release --workspace --bins --features aws, or give DSCTL" >&2; exit 1; }

SCRATCH=$(mktemp -d)
CLOUD=
finish() {
    [ -z "$CLOUD" ] || { kill "$CLOUD" 2>/dev/null; wait "$CLOUD" 2>/dev/null; }
    rm -rf "$SCRATCH"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A virtual environment with these files of requirements; half-made ones are made anew.
environment() {
    local name; name=$(cat "$@" | sha256sum | cut -c1-12)
    VENV=${BENCH_CACHE:-$SCRATCH}/$name
    if [ ! -f "$VENV/whole" ]; then
        echo "making $VENV" >&2
        python3 -m venv --clear "$VENV"
        "$VENV/bin/pip" install --quiet $(printf -- '--requirement %s ' "$@")
        touch "$VENV/whole"
    fi
    PYTHON=$VENV/bin/python
}

cloud() {
    local port; port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=1 MOTO_ENABLE_AMI_VALIDATION=1 MOTO_IAM_LOAD_MANAGED_POLICIES=true \
        "$PYTHON" "$BENCHES/cloud.py" "$port" >"$SCRATCH/cloud.log" 2>&1 &
    CLOUD=$!
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port
    for _ in $(seq 240); do
        curl -sf --noproxy '*' "$AWS_ENDPOINT_URL/bench/calls" >/dev/null && return
        kill -0 "$CLOUD" 2>/dev/null || break
        sleep 0.25
    done
    cat "$SCRATCH/cloud.log" >&2; exit 1
}

# As the tests' variables: to the loopback, past everything of the developer's own.
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost NO_COLOR=1 COLUMNS=100 LC_ALL=C.UTF-8
export DSCTL BINARIES=$SCRATCH/binaries DSCTL_HOME=$SCRATCH/home
mkdir -p "$BINARIES"
# The host's programs: 1 MiB each, since nobody runs them here.
for name in dsctl dsserve dsgate; do yes "$name" | head -c 1M >"$BINARIES/$name" || true; done
