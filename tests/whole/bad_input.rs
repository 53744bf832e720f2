//! Bad words and bad files: every one is refused with the right exit code, by an error that names the thing.

use tests::home::Home;
use tests::process::Outcome;

/// What is wrong with a refusal; a table is gone through to its end.
fn complaint(outcome: &Outcome, code: i32, hint: &str) -> Option<String> {
    let is_said = outcome.stderr.contains(hint) && !outcome.transcript().contains("panicked");
    let text = format!("wanted: exit {code}, {hint:?} named\n{}", outcome.transcript());
    (outcome.code != code || !is_said).then_some(text)
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints\n\n{}", complaints.len(), complaints.join("\n\n"));
}

#[test]
fn words_that_can_not_be_meant() {
    let home = Home::light();
    let digest = "xyz";
    let cases: &[(&str, i32, &str)] = &[
        ("up --model nope --yes", 2, "nope"),
        ("up --model smollm2-135 --yes", 2, "smollm2-135m"),
        ("up --yes", 2, "model"),
        ("up --cloud mars --model smollm2-135m", 2, "mars"),
        ("up --modle smollm2-135m", 2, "--modle"),
        ("up --model smollm2-135m --port 70000", 2, "70000"),
        ("up --model smollm2-135m --port -1", 2, "-1"),
        ("up --model smollm2-135m --name Bad_Name", 2, "Bad_Name"),
        ("up --model smollm2-135m --name ../up", 2, "../up"),
        ("plan --model smollm2-135m --context 3", 2, "context: 3 is below 16"),
        ("plan --model smollm2-135m --max-sequences 0", 2, "max_sequences: 0 is below 1"),
        ("plan --model smollm2-135m --threads 0", 2, "threads: 0 is below 1"),
        ("plan --model smollm2-135m --baseline openai", 2, "openai"),
        ("plan --model smollm2-135m --baseline local:nope", 2, "nope"),
        ("plan --model smollm2-135m --baseline http://", 2, "http://"),
        ("plan --model smollm2-135m --baseline http://a:secret@b/v1", 2, "user name or password"),
        ("plan --model smollm2-135m --baseline http://a/v1 --baseline-key-env NO_SUCH", 2, "NO_SUCH"),
        ("plan --model smollm2-135m --baseline http://a/v1 --baseline-key-file /no/such", 2, "/no/such"),
        ("plan --model smollm2-135m --baseline-key-env A --baseline-key-file B", 2, "--baseline-key-file"),
        ("plan --model smollm2-135m --weights model.gguf", 2, "known are hf:"),
        ("plan --model smollm2-135m --weights hf:owner/file", 2, "hf:OWNER/REPO@REVISION/PATH"),
        ("plan --model smollm2-135m --weights file:/x --weights-sha256 xyz", 2, digest),
        ("plan --model smollm2-135m --weights-sha256 xyz", 2, "xyz"),
        ("plan --model smollm2-135m --encryption-key k", 2, "encryption_key: it is for a cloud"),
        (
            "plan --cloud aws --model 70b-int8 --encryption-key arn:aws:kms:eu-west-1:1:key/2",
            2,
            "for gcp only yet; on aws",
        ),
        ("plan --cloud azure --model 70b-int8 --encryption-key k", 2, "for gcp only yet; on azure"),
        ("plan --cloud gcp --model 70b-int8 --encryption-key k", 2, "\"k\" is no key of Cloud KMS"),
        ("up --model smollm2-135m --timeout soon", 2, "soon"),
        ("up --model smollm2-135m -f /no/such.yaml --yes", 2, "/no/such.yaml"),
        ("status --name other", 6, "other"),
        ("status --watch --json", 2, "--json"),
        ("logs dsserve --name other", 6, "other"),
        ("logs -n many", 2, "many"),
        ("down --yes --name other", 6, "other"),
        ("weights pull nope", 2, "nope"),
        ("weights pull m --from ftp://host/x", 2, "ftp"),
        ("weights pull m --from file:/no/such", 4, "/no/such"),
        ("weights pull", 2, "<MODEL>"),
        ("rollout start", 6, "default"),
        ("rollout start --gate eror_ratio<5%", 2, "did you mean error_ratio"),
        ("rollout start --gate error_ratio<5", 2, "not a share"),
        ("rollout start --stages 10,200", 2, "200"),
        ("rollout start --bake never", 2, "never"),
        ("rollout start --timeout 1s", 2, "--wait"),
        ("rollout stop", 2, "stop"),
        ("runbook show nope", 2, "nope"),
        ("runbook run", 2, "RUNBOOK"),
        ("init nope", 2, "nope"),
        ("completion tcsh", 2, "tcsh"),
        ("frobnicate", 2, "frobnicate"),
    ];
    let mut complaints = Vec::new();
    for (line, code, hint) in cases {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = home.dsctl(&words);
        complaints.extend(complaint(&outcome, *code, hint));
        assert!(!outcome.stdout.contains("secret@") && !outcome.stderr.contains("secret@"), "a password is shown");
    }
    none(&complaints);
    println!("{} cases of bad words", cases.len());
    assert!(!home.layout().deployments().exists(), "something was made");
}

#[test]
fn deployment_files_that_can_not_be_meant() {
    let home = Home::light();
    let cases = [
        ("modle: x", "unknown key \"modle\", did you mean \"model\"?"),
        ("model: smollm2-135m\ngateway:\n  prot: 1", "gateway: unknown key \"prot\", did you mean \"port\"?"),
        ("model: smollm2-135m\ngateway: {port: 70000}", "gateway.port"),
        ("model: 7", "model"),
        ("model: smollm2-135m\ncloud: awz", "awz"),
        ("model: smollm2-135m\nname: Up", "Up"),
        ("model: smollm2-135m\ndaemon: {context: lots}", "daemon.context"),
        ("model: smollm2-135m\ndaemon: {threads: -1}", "daemon.threads"),
        (
            "model: smollm2-135m\nguards: {redact: {entities: [NAME]}}",
            "guards.redact.entities[0]: there is no entity NAME",
        ),
        ("model: smollm2-135m\nguards: {redact: {patterns: {X: a+}}}", "guards.redact.patterns.X: it has no bound"),
        ("model: smollm2-135m\nbaseline: openai", "local:MODEL"),
        ("model: smollm2-135m\nbaseline: {url: http://x/v1, key: sk-secret}", "unknown key \"key\""),
        ("model: smollm2-135m\nbaseline: {model: x}", "url"),
        ("model: smollm2-135m\nweights: {sources: []}", "weights.sources"),
        ("model: smollm2-135m\nweights: {sources: [model.gguf]}", "model.gguf"),
        ("model: smollm2-135m\nregion: eu-*", "region: it is for a cloud"),
        ("model: smollm2-135m\nregion: EU", "is no region"),
        ("model: smollm2-135m\nbudget: {max_hourly: -1}", "budget.max_hourly"),
        ("model: smollm2-135m\nnetwork: {allow: [10.0.0.0/99]}", "network.allow"),
        ("model: smollm2-135m\ncompliance: [gdrp]", "gdrp"),
        ("model: smollm2-135m\nstate: bucket", "is no place for state"),
        ("- a\n- list", "sequence"),
        ("model: [", "dsctl.yaml"),
        ("", "model"),
    ];
    let mut complaints = Vec::new();
    for (text, hint) in cases {
        let file = home.write("dsctl.yaml", text);
        let outcome = home.dsctl(&["plan", "-f", &file]);
        complaints.extend(complaint(&outcome, 2, hint));
        assert!(!outcome.stderr.contains("sk-secret"), "{}", outcome.transcript());
    }
    none(&complaints);
    println!("{} cases of bad deployment files", cases.len());
}

#[test]
fn a_starter_never_overwrites() {
    let home = Home::light();
    let path = home.scratch().join("mine.yaml").display().to_string();
    home.dsctl(&["init", "--output", &path]).exits(0);
    home.dsctl(&["plan", "-f", &path, "--port", "0"]).exits(0);
    std::fs::write(&path, "mine").unwrap();
    home.dsctl(&["init", "--output", &path]).exits(2).says("exists");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let folder = home.scratch().join("watch").display().to_string();
    home.dsctl(&["init", "monitoring", "--output", &folder]).exits(0).says("promtool check config");
    for file in ["prometheus/rules/gpu.yaml", "grafana/dashboards/dsctl-overview.json", "alertmanager/alertmanager.yml"]
    {
        assert!(std::path::Path::new(&folder).join(file).is_file(), "{file}");
    }
    home.dsctl(&["init", "monitoring", "--output", &folder]).exits(2).says("exists");
}
