"""Rounds of the same deployment by dsctl, by boto3 by hand and by Ansible, each in an empty cloud, in turns. Run by
aws_side_by_side.sh, which sets the environment.

    python side_by_side.py ROUNDS SCRATCH
"""

import json, os, pathlib, re, resource, statistics, subprocess, sys, time, urllib.request

HERE = pathlib.Path(__file__).parent
ROUNDS, SCRATCH = int(sys.argv[1]), pathlib.Path(sys.argv[2])
WANTED = SCRATCH / "wanted.json"
DSCTL, BINARIES = os.environ["DSCTL"], os.environ["BINARIES"]
CLOUD = os.environ["AWS_ENDPOINT_URL"]
SPEC = ["--cloud", "aws", "--model", "70b-int8", "--binaries", BINARIES]
ANSIBLE = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), str(HERE / "playbook.yml")]
loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
seen = {}  # (who, step) -> [(seconds, seconds of CPU, calls, mutating calls)]

def bench(path):
    return json.load(loopback.open(f"{CLOUD}/bench/{path}"))

def run(who, step, command, variables):
    bench("calls")
    begun, cpu = time.monotonic(), cpu_of_children()
    done = subprocess.run(command, env=os.environ | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    seconds, cpu, calls = time.monotonic() - begun, cpu_of_children() - cpu, bench("calls")
    if done.returncode:
        sys.exit(f"{who} {step}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    seen.setdefault((who, step), []).append((seconds, cpu, len(calls), sum(call[3] for call in calls)))
    return done.stdout, [call[2] for call in calls if call[3]]

def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

def by_dsctl(number):
    home = SCRATCH / f"home-{number}"
    at_home = {"DSCTL_HOME": str(home)}
    up = [DSCTL, "up", *SPEC, "--no-wait", "--yes"]
    run("dsctl", "first plan", [DSCTL, "plan", *SPEC], at_home)
    run("dsctl", "up", up, at_home)
    if not WANTED.exists():
        WANTED.write_text(json.dumps(wanted(json.loads(next(home.rglob("state.json")).read_text())["resources"])))
    run("dsctl", "plan again", [DSCTL, "plan", *SPEC], at_home)
    run("dsctl", "up again", [*up, "--expect-no-changes"], at_home)
    run("dsctl", "down", [DSCTL, "down", "--yes"], at_home)

def wanted(resources):
    """What dsctl made, for the others to make the same."""
    inputs = {address: it["inputs"] for address, it in resources.items()}
    machine = inputs["machine.main"]
    subnets = lambda kind: [
        {"zone": it["zone"], "range": it["range"]} for address, it in sorted(inputs.items()) if address.startswith(f"subnet.{kind}-")]
    return {
        "resources": len(resources),
        "range": inputs["network.main"]["range"], "private": subnets("private"), "public": subnets("public"),
        "allow": inputs["security-group.machine"]["allow"],
        "artifacts": [f"{BINARIES}/{name}" for name in ("dsctl", "dsserve", "dsgate")],
        "host_spec_bytes": len(json.dumps(inputs["host-spec.main"])), "boot_script_bytes": len(machine["boot_script"]),
    } | {key: machine[key] for key in ("image", "machine_type", "disk_gib", "disk_iops", "disk_mib_a_second")}

def by_hand(_):
    for step in ("create", "check"):
        run("boto3 by hand", step, [sys.executable, str(HERE / "by_hand.py"), step, str(WANTED)], {})

def by_ansible(_):
    play = [*ANSIBLE, "--inventory", "localhost,", "--extra-vars", f"@{WANTED}", "--extra-vars", f"ansible_python_interpreter={sys.executable}"]
    (SCRATCH / "ansible.cfg").touch()
    quiet = {"ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_HOME": str(SCRATCH / "ansible"), "ANSIBLE_CONFIG": str(SCRATCH / "ansible.cfg")}
    run("Ansible", "play", play, quiet)
    told, calls = run("Ansible", "play again", play, quiet)
    changed.update(re.findall(r"^TASK \[(.*?)\] \*+\n(?:.+\n)*?changed:", told, re.M), calls)

changed = set()
contenders = [by_dsctl, by_hand, by_ansible]
for number in range(ROUNDS):
    # dsctl first in the first round, since it says what the others make; then in turns.
    for contender in contenders[number % 3:] + contenders[:number % 3]:
        bench("reset")
        contender(number)
    print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)

print(f"{json.loads(WANTED.read_text())['resources']} resources, medians of {ROUNDS} rounds, {DSCTL}\n")
print("| who | step | seconds | least to most | of dsctl | CPU seconds | calls | changing |\n|---|---|---:|---:|---:|---:|---:|---:|")
medians = {key: [statistics.median(column) for column in zip(*rows)] for key, rows in seen.items()}
against = {"create": "up", "play": "up", "check": "plan again", "play again": "plan again"}
for (who, step), (seconds, cpu, calls, mutating) in medians.items():
    times = [row[0] for row in seen[who, step]]
    ratio = "" if who == "dsctl" else f"{seconds / medians['dsctl', against[step]][0]:.1f} x {against[step]}"
    print(f"| {who} | {step} | {seconds:.2f} | {min(times):.2f} to {max(times):.2f} | {ratio} | {cpu:.2f} | {calls:.0f} | {mutating:.0f} |")
print(f"\nWhat Ansible's second play changed, by its own word and by its calls: {', '.join(sorted(changed)) or 'nothing'}")
