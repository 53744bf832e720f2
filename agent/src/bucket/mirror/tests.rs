//! Bucket and folder alike, whatever is missing; and another agent in this one's place.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path as Key};
use serde_json::json;
use sha2::{Digest, Sha256};
use spec::id::Sha256 as Digest256;

use super::*;

struct Scene {
    _folder: tempfile::TempDir,
    home: HomeLayout,
    objects: Arc<InMemory>,
    host: HostName,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = HomeLayout::new(folder.path().join("home"));
        Self { _folder: folder, home, objects: Arc::new(InMemory::new()), host: "main".parse().unwrap() }
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        self.objects.put(&Key::from(key), PutPayload::from(bytes.to_vec())).await.unwrap();
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        self.objects.get(&Key::from(key)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    fn bucket(&self) -> Bucket {
        Bucket::new("s3://deployment".parse().unwrap(), self.objects.clone() as Arc<dyn ObjectStore>)
    }

    async fn mirror(&self) -> Mirror {
        self.mirror_of("the one of the first boot", None).await.0
    }

    /// With an agent that is this program; whatever wants to take over is refused for this reason.
    async fn mirror_of(&self, own: &str, refuses: Option<&'static str>) -> (Mirror, Arc<Rehearsed>) {
        let successor = Arc::new(Rehearsed { own: digest(own.as_bytes()), refuses, taken: Mutex::default() });
        (Mirror::begin(self.bucket(), &self.home, &self.host, successor.clone()).await, successor)
    }

    /// A later host spec for the agent of this digest, with a field that only such an agent knows.
    async fn put_desired_for(&self, agent: &str) {
        let spec = json!({"deployment": "demo", "host": "main", "generation": 2, "news": true,
            "agent": {"name": "dsctl", "sha256": digest(agent.as_bytes())}});
        self.put("host/main/desired.json", &serde_json::to_vec(&spec).unwrap()).await;
    }

    /// A gateway with one secret on its command line and one in its files.
    async fn put_desired(&self, generation: u64, program: &[u8]) -> String {
        let sha256 = hex::encode(Sha256::digest(program));
        let unit = json!({"name": "dsgate", "program": {"artifact": {"name": "dsgate", "sha256": sha256}},
            "args": [{"secret": "token"}], "secrets": ["api-key"], "ports": [], "ready_url": "http://127.0.0.1:1/ready",
            "stop_grace": "1s", "phase": "gateway"});
        let spec = json!({"deployment": "demo", "host": "main", "generation": generation, "run": "running", "weights": [],
            "files": [], "units": [unit], "first_token": []});
        self.put("host/main/desired.json", &serde_json::to_vec(&spec).unwrap()).await;
        sha256
    }

    async fn fill(&self) -> String {
        self.put("secrets/token", b"t").await;
        self.put("secrets/api-key", b"k").await;
        let sha256 = self.put_desired(1, b"program").await;
        self.put(&format!("artifacts/{sha256}/dsgate"), b"program").await;
        sha256
    }
}

fn digest(bytes: &[u8]) -> Digest256 {
    hex::encode(Sha256::digest(bytes)).parse().unwrap()
}

/// Nothing is run and no service changed; what would have been is kept.
#[derive(Debug)]
struct Rehearsed {
    own: Digest256,
    refuses: Option<&'static str>,
    taken: Mutex<Vec<PathBuf>>,
}

#[async_trait]
impl Successor for Rehearsed {
    fn is_in_place(&self, wanted: &Digest256) -> bool {
        self.own == *wanted
    }

    async fn rehearse(&self, program: &Path, _: &[u8]) -> Result<(), String> {
        assert!(program.is_file());
        self.refuses.map_or(Ok(()), |reason| Err(reason.to_owned()))
    }

    async fn take_over(&self, program: &Path) -> Result<(), String> {
        self.taken.lock().unwrap().push(program.to_owned());
        Ok(())
    }
}

fn done(mirror: &Mirror, generation: u64) -> bool {
    mirror.supplies().are_there(generation)
}

#[tokio::test]
async fn what_a_host_spec_needs_comes_down_and_the_status_goes_up() {
    let scene = Scene::new();
    let sha256 = scene.fill().await;
    let mut mirror = scene.mirror().await;
    assert_eq!(mirror.site().deployment.as_str(), "demo");
    assert!(!done(&mirror, 1));
    mirror.look().await;
    assert!(done(&mirror, 1) && !done(&mirror, 2));
    let site = mirror.site().clone();
    let program = site.home.artifact(&sha256.parse().unwrap(), "dsgate");
    assert_eq!(fs::read(&program).unwrap(), b"program");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    let secret = site.secret(&"api-key".parse().unwrap());
    assert_eq!(fs::read_to_string(&secret).unwrap(), format!("sha256:{}\n", digest(b"k")));
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o077, 0);
    assert!(site.secret(&"token".parse().unwrap()).is_file());

    write_durably(&site.status(), b"{}").unwrap();
    mirror.look().await;
    assert_eq!(scene.get("host/main/status.json").await, b"{}");
}

#[tokio::test]
async fn a_program_of_another_digest_never_takes_its_place_and_is_fetched_again() {
    let scene = Scene::new();
    let sha256 = scene.fill().await;
    scene.put(&format!("artifacts/{sha256}/dsgate"), b"another").await;
    let mut mirror = scene.mirror().await;
    mirror.look().await;
    let program = mirror.site().home.artifact(&sha256.parse().unwrap(), "dsgate");
    assert!(!program.exists());
    let Supply::Failed { generation: 1, message } = mirror.supply.borrow().clone() else {
        panic!("{:?}", mirror.supply.borrow());
    };
    assert!(message.contains(&format!("has digest {}", hex::encode(Sha256::digest(b"another")))), "{message}");

    scene.put(&format!("artifacts/{sha256}/dsgate"), b"program").await;
    mirror.look().await;
    assert!(done(&mirror, 1));
    fs::write(&program, b"broken on the disk").unwrap();
    let mut next = scene.mirror().await;
    next.look().await;
    assert_eq!(fs::read(&program).unwrap(), b"program");
}

#[tokio::test]
async fn what_is_missing_is_named_and_a_later_host_spec_starts_anew() {
    let scene = Scene::new();
    scene.fill().await;
    scene.objects.delete(&Key::from("secrets/token")).await.unwrap();
    let mut mirror = scene.mirror().await;
    mirror.look().await;
    let failed = mirror.supply.borrow().clone();
    assert!(
        matches!(&failed, Supply::Failed { message, .. } if message.contains("no object secrets/token")),
        "{failed:?}"
    );
    scene.put("secrets/token", b"t").await;
    scene.put_desired(2, b"program").await;
    mirror.look().await;
    assert!(done(&mirror, 2));
}

#[tokio::test]
async fn a_host_without_its_bucket_goes_on_with_what_it_has() {
    let scene = Scene::new();
    scene.fill().await;
    scene.mirror().await.look().await;
    let empty = Bucket::new("s3://gone".parse().unwrap(), Arc::new(InMemory::new()));
    let successor = Arc::new(Rehearsed { own: digest(b""), refuses: None, taken: Mutex::default() });
    let mut mirror = Mirror::begin(empty, &scene.home, &scene.host, successor).await;
    assert_eq!(mirror.site().deployment.as_str(), "demo");
    mirror.look().await;
    assert!(done(&mirror, 1));
    assert!(mirror.complaint.is_some());
}

#[tokio::test]
async fn an_agent_makes_way_for_the_one_that_the_host_spec_is_written_for_though_it_can_not_read_the_rest() {
    let scene = Scene::new();
    scene.fill().await;
    let (mut mirror, successor) = scene.mirror_of("old", None).await;
    mirror.look().await;
    let before = fs::read(mirror.site().desired()).unwrap();

    scene.put_desired_for("new").await;
    mirror.look().await;
    assert!(successor.taken.lock().unwrap().is_empty(), "it is not in the bucket yet");
    let held = mirror.supply.borrow().clone();
    assert!(matches!(&held, Supply::Held { generation: 1, message } if message.contains("no object artifacts/")));
    assert!(done(&mirror, 1), "what runs goes on");

    scene.put(&format!("artifacts/{}/dsctl", digest(b"new")), b"new").await;
    mirror.look().await;
    mirror.look().await;
    let program = mirror.site().home.artifact(&digest(b"new"), "dsctl");
    assert_eq!(*successor.taken.lock().unwrap(), [program], "once");
    assert_eq!(fs::read(mirror.site().desired()).unwrap(), before, "left to the one that can read it");

    let (mut next, successor) = scene.mirror_of("new", None).await;
    next.look().await;
    assert!(successor.taken.lock().unwrap().is_empty());
    assert_ne!(fs::read(next.site().desired()).unwrap(), before);
}

#[tokio::test]
async fn an_agent_stays_where_the_other_does_not_run_and_says_so_until_the_next_host_spec() {
    let scene = Scene::new();
    scene.fill().await;
    let (mut mirror, successor) = scene.mirror_of("old", Some("it does not start")).await;
    mirror.look().await;
    scene.put(&format!("artifacts/{}/dsctl", digest(b"new")), b"new").await;
    scene.put_desired_for("new").await;
    mirror.look().await;
    mirror.look().await;
    assert!(successor.taken.lock().unwrap().is_empty());
    let held = mirror.supply.borrow().clone();
    assert!(
        matches!(&held, Supply::Held { generation: 1, message } if message.ends_with("it does not start")),
        "{held:?}"
    );
    assert!(done(&mirror, 1), "what runs goes on");

    scene.put_desired(3, b"program").await;
    mirror.look().await;
    assert!(done(&mirror, 3));
}
