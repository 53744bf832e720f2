//! A gateway that encrypts: who reaches it, whom they must trust, and what happens when its certificate is another.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client};
use serde_json::Value;
use tests::home::{Endpoint, Home, endpoint_of};
use tests::http::{ask, question, send, wait};
use tests::process::{Outcome, run};
use tests::wait::until;
use tests::weights;

/// A name that leads nowhere but where a test says.
const NAME: &str = "llm.example.org";

/// Trusts what stands in this file, and nobody else. Never reuses a connection: each is shown the certificate of then.
fn client(trusted: &Path) -> reqwest::ClientBuilder {
    let pem = std::fs::read(trusted).expect("a certificate");
    let trusted = Certificate::from_pem(&pem).expect("a certificate in PEM");
    Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([trusted])
}

fn shell(home: &Home, line: &str) -> Outcome {
    let mut shell = Command::new("sh");
    home.dress(shell.args(["-c", line]));
    run(&mut shell)
}

#[track_caller]
fn up(home: &Home, more: &[&str]) -> (Endpoint, Value) {
    let words = Home::up_words(more);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--json"]).collect();
    let report = home.dsctl(&words).exits(0).json();
    (endpoint_of(&report), report)
}

/// Also asked while a certificate is exchanged.
async fn models(client: Client, endpoint: Endpoint) -> Result<u16, reqwest::Error> {
    let request = client.get(format!("{}/models", endpoint.url)).bearer_auth(&endpoint.key);
    Ok(send(request).await?.status)
}

#[test]
fn whoever_trusts_the_deployments_authority_reaches_it() {
    let home = Home::alone();
    let (endpoint, report) = up(&home, &["--tls", "gateway"]);
    assert!(endpoint.url.starts_with("https://127.0.0.1:"), "{report}");
    let ca_file = PathBuf::from(report["ca_file"].as_str().expect("whom to trust"));
    assert_eq!(ca_file, home.deployment().certificate_authority());
    assert!(!std::fs::read_to_string(&ca_file).unwrap().contains("PRIVATE KEY"));

    let line = report["curl"].as_str().unwrap();
    let answer = shell(&home, line).exits(0).json();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Paris"), "{answer}");
    let trust = format!("--cacert {} ", ca_file.display());
    assert!(line.contains(&trust), "{line}");
    // curl's code for a certificate that nobody known has signed.
    shell(&home, &line.replace(&trust, "")).exits(60);
    let plain = shell(&home, &line.replace("https://", "http://").replace(&trust, "")).exits(0);
    assert!(plain.stdout.contains("https://"), "{}", plain.transcript());

    let chat = client(&ca_file).build().unwrap().post(format!("{}/chat/completions", endpoint.url));
    let chat = ask(chat.bearer_auth(&endpoint.key).json(&question(weights::MODEL, 4))).has_status(200);
    assert!(!chat.chat_text().is_empty());

    let status = home.status();
    assert_eq!((status.summary(), status.state("dsgate")), ("ready", "ready"));
    assert_eq!(status.0["ca_file"].as_str(), ca_file.to_str());
    home.dsctl(&["status"]).exits(0).says(&format!("CA file   {}", ca_file.display()));
    home.dsctl(&["runbook", "run", "gateway-down"]).exits(0);
    another_certificate_cuts_nobody_off(&home, &endpoint, &ca_file);

    let again = home.dsctl(&["up", "--yes", "--expect-no-changes", "--json"]).exits(0).json();
    assert_eq!(again["ca_file"], report["ca_file"], "the authority stays");
    home.dsctl(&["down", "--yes"]).exits(0);
    assert!(!home.deployment().root().exists());
}

/// As when it grows old: the agent issues another, and the gateway shows it without being started again.
fn another_certificate_cuts_nobody_off(home: &Home, endpoint: &Endpoint, ca_file: &Path) {
    let before = home.status();
    let host = home.deployment().host();
    let first = std::fs::read(host.certificate()).unwrap();
    std::fs::remove_file(host.certificate_record()).unwrap();
    look_again(home);
    let client = client(ca_file).build().unwrap();
    let mut answers = 0;
    until("another certificate", || {
        assert_eq!(wait(models(client.clone(), endpoint.clone())).expect("an answer"), 200);
        answers += 1;
        (std::fs::read(host.certificate()).ok()? != first).then_some(())
    });
    until("the gateway took it up", || {
        assert_eq!(wait(models(client.clone(), endpoint.clone())).expect("an answer"), 200);
        home.dsctl(&["logs", "dsgate"]).stdout.contains("certificate read again, now in force").then_some(())
    });
    assert!(answers > 0);
    assert_eq!(home.status().living("dsgate"), before.living("dsgate"), "it was not started again");
}

/// The agent looks at once when somebody asks it anew.
fn look_again(home: &Home) {
    let path = home.deployment().bucket().desired(&"local".parse().unwrap());
    let mut desired: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    desired["generation"] = (desired["generation"].as_u64().unwrap() + 1).into();
    let beside = path.with_extension("new");
    std::fs::write(&beside, desired.to_string()).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// A certificate for [`NAME`] in `chain.pem` and `key.pem`, by an authority of the user's; gives the file to trust.
fn of_the_users(home: &Home, authority: &str) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    home.write("chain.pem", &leaf);
    home.write("key.pem", &key.serialize_pem());
    home.write(authority, &root)
}

#[test]
fn a_certificate_of_the_users_own_is_shown_to_clients() {
    let home = Home::alone();
    let root = of_the_users(&home, "root.pem");
    let file = home.write("dsctl.yaml", "gateway: {certificate: {chain_file: chain.pem, key_file: key.pem}}\n");
    let (endpoint, report) = up(&home, &["--file", &file]);
    assert_eq!(report["ca_file"], Value::Null, "whom to trust is the user's own business");
    let reached = |trusted: &str| {
        let address = endpoint.url.trim_start_matches("https://").trim_end_matches("/v1");
        let client = client(Path::new(trusted)).resolve(NAME, address.parse().unwrap()).build().unwrap();
        let endpoint = Endpoint { url: endpoint.url.replace("127.0.0.1", NAME), ..endpoint.clone() };
        wait(models(client, endpoint)).ok()
    };
    assert_eq!(reached(&root), Some(200));
    assert_eq!(home.status().summary(), "ready");

    let other = of_the_users(&home, "other.pem");
    assert_eq!(reached(&other), None, "not before it is up");
    home.dsctl(&["up", "--yes"]).exits(0);
    assert_eq!((reached(&other), reached(&root)), (Some(200), None));
    no_key_is_told(&home);
}

/// Wherever it is written down what the deployment is.
fn no_key_is_told(home: &Home) {
    let key = std::fs::read_to_string(home.scratch().join("key.pem")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let mut folders = vec![home.deployment().root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if path.ends_with("secrets") => {}
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    assert!(!String::from_utf8_lossy(&bytes).contains(line), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn what_can_not_be_shown_is_refused_before_anything_is_done() {
    let home = Home::light();
    let text = "model: smollm2-135m\ngateway: {certificate: {chain_file: absent.pem, key_file: key.pem}}\n";
    let file = home.write("dsctl.yaml", text);
    home.dsctl(&["plan", "--file", &file]).exits(2).says("gateway.certificate.chain_file").says("absent.pem");
    home.dsctl(&["plan", "--model", "smollm2-135m", "--tls", "elsewhere"]).exits(2).says("network");
    home.dsctl(&["plan", "--model", "smollm2-135m", "--tls", "nowhere"]).exits(2).says("gateway, elsewhere");
}
