//! A dsgate of a test's own: configuration written by hand, killed and started again at the same ports.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::binaries;
use crate::home::{Endpoint, environment};
use crate::http::{Answer, call, client, runtime, send, wait};
use crate::mock::Mock;
use crate::process::kill;
use crate::wait::{PATIENCE, until};

const KEY: &str = "key-of-a-client";
const TOKEN: &str = "token-of-an-admin";

#[derive(Debug)]
pub struct Gate {
    child: Child,
    listen: String,
    admin: String,
    folder: tempfile::TempDir,
}

impl Gate {
    /// In front of two scripted upstreams.
    pub fn start(baseline: &Mock, candidate: &Mock) -> Self {
        let folder = binaries::scratch();
        // Both at once, so that they are two.
        let ports = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a free port"));
        let [listen, admin] = ports.map(|port| port.local_addr().expect("its address").to_string());
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file of the gateway");
            path
        };
        let config = json!({
            "listen": listen, "admin_listen": admin, "salt": "salt",
            "api_keys_file": file("keys", KEY), "admin_token_file": file("token", TOKEN),
            "variants": {
                "baseline": {"base_url": baseline.base_url(), "default_model": "old-model"},
                "candidate": {
                    "base_url": candidate.base_url(), "default_model": "new-model", "ready_url": candidate.ready_url(),
                },
            },
            "limits": {"body_bytes": 65536, "connect_timeout": "2s", "first_byte_timeout": "5s", "idle_timeout": "5s"},
        });
        file("gateway.json", &config.to_string());
        let child = spawn(&folder);
        let gate = Self { child, listen, admin, folder };
        gate.wait_until_ready();
        gate
    }

    pub fn endpoint(&self) -> Endpoint {
        let key_file = self.folder.path().join("keys");
        Endpoint { url: format!("http://{}/v1", self.listen), key: KEY.to_owned(), key_file }
    }

    /// At the same ports, with the same folder; does not wait until it is ready.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.folder);
    }

    /// Whether it is there to be seen yet: what it says of itself if it is.
    pub fn try_status(&self) -> Option<Value> {
        let request = client().get(format!("http://{}/admin/status", self.admin)).bearer_auth(TOKEN);
        let answer = wait(async { send(request).await }).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// Sends a call to the admin API that nobody waits for.
    pub fn admin_unheard(&self, method: Method, path: &str, body: &Value) {
        let request = client().request(method, format!("http://{}{path}", self.admin)).bearer_auth(TOKEN).json(body);
        runtime().spawn(async move { send(request).await.ok() });
    }

    /// Kills it as soon as the journal has this many records, whatever it is about to do next. `meanwhile` is called again
    /// and again until then.
    pub fn kill_at_record(&mut self, count: usize, mut meanwhile: impl FnMut(&Self)) {
        let pid = self.child.id();
        std::thread::scope(|scope| {
            let this = &*self;
            let watcher = scope.spawn(move || {
                let begun = Instant::now();
                // Without a pause between two looks: the next record is a millisecond away.
                while this.record_count() < count && begun.elapsed() < PATIENCE {}
                kill(pid);
            });
            while !watcher.is_finished() {
                meanwhile(this);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        self.child.wait().expect("the gateway's end");
    }

    pub fn wait_until_ready(&self) {
        let url = format!("http://{}/ready", self.listen);
        until("the gateway is ready", || wait(send(client().get(&url))).ok().filter(|answer| answer.status == 200));
    }

    #[track_caller]
    pub fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        call(method, &format!("http://{}{path}", self.admin), TOKEN, body)
    }

    /// The rollout's report.
    #[track_caller]
    pub fn rollout(&self) -> Value {
        self.admin(Method::GET, "/admin/rollout", None).has_status(200).json()
    }

    /// The journal's records that are on disk, in order.
    pub fn records(&self) -> Vec<Value> {
        let Some(folder) = self.journal() else { return Vec::new() };
        let mut names: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
        names.retain(|path| path.extension().is_some_and(|end| end == "json"));
        names.sort();
        let read =
            |path: PathBuf| serde_json::from_slice(&fs::read(&path).expect("a record")).expect("a record's JSON");
        names.into_iter().map(read).collect()
    }

    /// How many there are, without reading them.
    pub fn record_count(&self) -> usize {
        let files = self.journal().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "json")).count()
    }

    fn journal(&self) -> Option<PathBuf> {
        fs::read_dir(self.folder.path().join("data/rollouts")).ok()?.flatten().map(|entry| entry.path()).next()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Ended already: fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &tempfile::TempDir) -> Child {
    let path = folder.path();
    let log = File::options().create(true).append(true).open(path.join("log")).expect("the gateway's log");
    let mut command = Command::new(binaries::folder().join("dsgate"));
    environment(&mut command, path);
    command.arg("--config").arg(path.join("gateway.json")).arg("--data-dir").arg(path.join("data"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("dsgate starts")
}
