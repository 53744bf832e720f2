//! Clients over TLS: who is let in, with what, and what happens while the certificate is exchanged.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::Certificate;
use reqwest::tls::Version;

use super::*;
use crate::tls::{CertificateFiles, Tls, TlsError};

/// An authority of the tests.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this machine, and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Trusts this authority and nobody else.
    fn client(&self) -> reqwest::ClientBuilder {
        Client::builder().no_proxy().tls_certs_only([self.certificate.clone()])
    }
}

/// A gateway whose clients encrypt.
struct Encrypted {
    house: House,
    tls: Arc<Tls>,
    files: CertificateFiles,
}

impl Encrypted {
    async fn open(authority: &Authority, upstream: &Mock) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let files = CertificateFiles { certificate: folder.path().join("leaf"), key: folder.path().join("leaf-key") };
        write(&files, &authority.issue());
        let tls = Arc::new(Tls::load(files.clone()).unwrap());
        let config = config(folder.path(), None, Some(&upstream.url()));
        let house = House::open_over(Transport::Encrypted(tls.clone()), folder, &config).await.unwrap();
        Self { house, tls, files }
    }

    fn chat(&self, client: &Client) -> RequestBuilder {
        let request = client.post(format!("https://{}/v1/chat/completions", self.house.public)).bearer_auth(KEY);
        request.body(r#"{"model":"gpt","messages":[]}"#)
    }
}

fn write(files: &CertificateFiles, (certificate, key): &(String, String)) {
    std::fs::write(&files.key, key).unwrap();
    std::fs::write(&files.certificate, certificate).unwrap();
}

/// Every cause, since the outermost says no more than that it failed.
fn causes(error: &reqwest::Error) -> String {
    crate::describe(error)
}

#[tokio::test]
async fn whoever_trusts_the_authority_is_let_in_by_both_versions_of_http() {
    let (authority, upstream) = (Authority::new(), Mock::new(Reply::ok("x")).await);
    let gateway = Encrypted::open(&authority, &upstream).await;
    for (client, version) in
        [(authority.client(), http::Version::HTTP_2), (authority.client().http1_only(), http::Version::HTTP_11)]
    {
        let answer = gateway.chat(&client.build().unwrap()).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.json::<Value>().await.unwrap()["from"], "x");
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn nobody_else_is_let_in() {
    let (authority, upstream) = (Authority::new(), Mock::new(Reply::ok("x")).await);
    let gateway = Encrypted::open(&authority, &upstream).await;
    let stranger = gateway.chat(&Authority::new().client().build().unwrap()).send().await.unwrap_err();
    assert!(causes(&stranger).contains("invalid peer certificate"), "{stranger:?}");
    let old = authority.client().tls_version_max(Version::TLS_1_2).build().unwrap();
    let old = gateway.chat(&old).send().await.unwrap_err();
    assert!(causes(&old).contains("ProtocolVersion"), "{old:?}");
    assert!(upstream.seen().is_empty());
    let known = gateway.chat(&authority.client().build().unwrap()).send().await.unwrap();
    assert_eq!(known.status(), 200, "the port serves on");
}

#[tokio::test]
async fn plain_http_is_told_to_encrypt() {
    let (authority, upstream) = (Authority::new(), Mock::new(Reply::ok("x")).await);
    let gateway = Encrypted::open(&authority, &upstream).await;
    let answer = gateway.house.chat().await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("https://"));
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.house.admin("GET", "/admin/status").send().await.unwrap().status(), 200, "loopback stays plain");
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_an_answer_goes_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let upstream = Mock::new(Reply::stream(&["data: {\"n\":1}\n\n"]).end(End::Stall)).await;
    let gateway = Encrypted::open(&before, &upstream).await;
    let mut stream = gateway.chat(&before.client().build().unwrap()).send().await.unwrap();
    assert_eq!(&stream.chunk().await.unwrap().unwrap()[..], b"data: {\"n\":1}\n\n");

    write(&gateway.files, &after.issue());
    gateway.tls.look();
    upstream.play(Reply::ok("x"));
    let answer = gateway.chat(&after.client().build().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let error = gateway.chat(&before.client().build().unwrap()).send().await.unwrap_err();
    assert!(causes(&error).contains("invalid peer certificate"), "{error:?}");

    let went_on = tokio::time::timeout(std::time::Duration::from_millis(50), stream.chunk()).await;
    assert!(went_on.is_err(), "the stream is open still: {went_on:?}");
}

#[tokio::test]
async fn half_of_a_new_certificate_leaves_the_last_one_in_force() {
    let (authority, upstream) = (Authority::new(), Mock::new(Reply::ok("x")).await);
    let gateway = Encrypted::open(&authority, &upstream).await;
    let client = || authority.client().build().unwrap();
    let (certificate, key) = authority.issue();
    std::fs::write(&gateway.files.key, &key).unwrap();
    gateway.tls.look();
    assert_eq!(gateway.chat(&client()).send().await.unwrap().status(), 200, "the key alone");
    std::fs::write(&gateway.files.certificate, "").unwrap();
    gateway.tls.look();
    std::fs::remove_file(&gateway.files.certificate).unwrap();
    gateway.tls.look();
    assert_eq!(gateway.chat(&client()).send().await.unwrap().status(), 200, "no certificate");
    std::fs::write(&gateway.files.certificate, certificate).unwrap();
    gateway.tls.look();
    assert_eq!(gateway.chat(&client()).send().await.unwrap().status(), 200, "both");
}

#[tokio::test]
async fn a_stop_lets_an_encrypted_answer_finish() {
    let authority = Authority::new();
    let upstream = Mock::new(Reply::stream(&["data: {\"n\":1}\n\n"]).end(End::Stall)).await;
    let gateway = Encrypted::open(&authority, &upstream).await;
    let clients = [authority.client(), authority.client().http1_only()].map(|client| client.build().unwrap());
    let mut answers = Vec::new();
    for client in &clients {
        let mut answer = gateway.chat(client).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        answers.push(answer);
    }
    gateway.house.stop.cancel();
    assert!(!gateway.house.serving.is_finished());
    drop(answers);
    gateway.house.serving.await.unwrap();
}

#[test]
fn bad_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles { certificate: folder.path().join("leaf"), key: folder.path().join("leaf-key") };
    let refused = || crate::describe(&Tls::load(files.clone()).unwrap_err());
    assert!(refused().contains("leaf: "), "{}", refused());
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    write(&files, &(String::new(), key));
    assert!(refused().contains("leaf: holds no certificate"), "{}", refused());
    write(&files, &(certificate.clone(), "none".to_owned()));
    assert!(refused().contains("leaf-key: no key in PEM"), "{}", refused());
    write(&files, &(certificate, authority.issue().1));
    assert!(matches!(Tls::load(files.clone()), Err(TlsError::Pair { .. })), "{}", refused());
}
