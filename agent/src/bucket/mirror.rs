//! The task that keeps bucket and folder alike, for as long as the agent lives.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::store::write_durably;
use spec::host::HostSpec;
use spec::id::{DeploymentName, HostName};
use spec::layout::{BucketLayout, HomeLayout};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::supply::Needs;
use super::{Bucket, BucketError, Supplies, Supply};
use crate::site::Site;
use crate::watchdog::Watchdog;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// After a look or a write that failed.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// For the first look at it: systemd's watchdog waits no longer, and what is on the disk serves meanwhile.
const FIRST_LOOK: Duration = Duration::from_secs(20);
/// The status goes up again though nothing changed: another machine of the deployment may have written over it.
const REPEAT_EVERY: Duration = Duration::from_secs(60);
/// For the last status, when the agent ends.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Mirror {
    site: Site,
    bucket: Bucket,
    /// Of the host spec that lies on the disk.
    tag: Option<String>,
    /// The status that the bucket was given last, and when.
    sent: Option<(Vec<u8>, Instant)>,
    supply: watch::Sender<Supply>,
    /// Said once, not at every look.
    complaint: Option<String>,
}

impl Mirror {
    /// Waits until it is known which deployment this host belongs to: by the bucket, or by what an earlier agent left here.
    pub async fn begin(bucket: Bucket, home: &HomeLayout, host: &HostName) -> Self {
        let (mut complaint, mut watchdog) = (None, Watchdog::default());
        let deployment = loop {
            watchdog.beat();
            let asked = tokio::time::timeout(FIRST_LOOK, deployment_of(&bucket, host)).await;
            match asked.unwrap_or_else(|_| Err("the bucket does not answer".to_owned())) {
                Ok(deployment) => break deployment,
                Err(message) => {
                    complain(&mut complaint, &message);
                    if let Some(deployment) = left_here(home, host) {
                        break deployment;
                    }
                }
            }
            tokio::time::sleep(RETRY_EVERY).await;
        };
        let site = Site::new(home, &deployment, host);
        Self { site, bucket, tag: None, sent: None, supply: watch::Sender::new(Supply::Unknown), complaint }
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    pub fn supplies(&self) -> Supplies {
        Supplies::Mirrored(self.supply.subscribe())
    }

    /// Until it is told to end; the last status goes up before that.
    pub async fn run(mut self, ended: CancellationToken) {
        let mut rest = Duration::ZERO;
        loop {
            // The status does not wait for what failed to be tried again.
            let before = rest;
            let round = async {
                let rest = if before.is_zero() { self.look().await } else { self.tell(before).await };
                let pause = rest.min(TELL_EVERY);
                tokio::time::sleep(pause).await;
                rest - pause
            };
            tokio::select! {
                () = ended.cancelled() => break,
                left = round => rest = left,
            }
        }
        match tokio::time::timeout(FAREWELL, self.send_status()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last status did not reach the bucket"),
            Err(_) => tracing::warn!("the last status did not reach the bucket in time"),
        }
    }

    /// One round; how long to rest after it.
    async fn look(&mut self) -> Duration {
        let taken = self.take_desired().await;
        self.supply().await;
        let sent = self.send_status().await;
        match taken.and(sent) {
            Ok(()) if matches!(*self.supply.borrow(), Supply::Failed { .. }) => RETRY_EVERY,
            Ok(()) => {
                self.complaint = None;
                LOOK_EVERY
            }
            Err(error) => {
                complain(&mut self.complaint, &error.to_string());
                RETRY_EVERY
            }
        }
    }

    /// The status alone; how long there is still to rest.
    async fn tell(&mut self, rest: Duration) -> Duration {
        if let Err(error) = self.send_status().await {
            complain(&mut self.complaint, &error.to_string());
        }
        rest
    }

    async fn take_desired(&mut self) -> Result<(), BucketError> {
        let key = BucketLayout::desired_key(&self.site.name);
        let Some(found) = self.bucket.get_unless(&key, self.tag.as_deref()).await? else {
            return Ok(());
        };
        let path = self.site.desired();
        if !holds(&path, &found.bytes) {
            let disk = |source| BucketError::Disk { what: format!("writing {}", path.display()), source };
            write_durably(&path, &found.bytes).map_err(disk)?;
        }
        self.tag = found.tag;
        Ok(())
    }

    /// Of the host spec that lies on the disk, wherever it came from.
    async fn supply(&mut self) {
        let Some(spec) = host_spec(&self.site.desired()) else { return };
        let generation = spec.generation;
        if matches!(*self.supply.borrow(), Supply::Done { generation: done, .. } if done == generation) {
            return;
        }
        let needs = Needs::of(&spec);
        let brought = self.bring(&needs, generation).await;
        let now = match brought {
            Ok(()) => Supply::Done { generation, count: needs.count() },
            Err(error) if needs.are_on_disk(&self.site) => {
                tracing::warn!(%error, "going on with what is on the disk");
                Supply::Done { generation, count: needs.count() }
            }
            Err(error) => {
                complain(&mut self.complaint, &error.to_string());
                Supply::Failed { generation, message: error.to_string() }
            }
        };
        self.supply.send_replace(now);
    }

    async fn bring(&self, needs: &Needs, generation: u64) -> Result<(), BucketError> {
        let tell = |what: &str| {
            let fetching = Supply::Fetching { generation, what: what.to_owned() };
            // What failed stays to be read until it went well.
            self.supply.send_if_modified(|now| {
                let may = !matches!(now, Supply::Failed { generation: failed, .. } if *failed == generation);
                if may {
                    *now = fetching;
                }
                may
            });
        };
        needs.bring(&self.site, &self.bucket, tell).await
    }

    async fn send_status(&mut self) -> Result<(), BucketError> {
        let path = self.site.status();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(BucketError::Disk { what: format!("reading {}", path.display()), source }),
        };
        if self.sent.as_ref().is_some_and(|(sent, at)| *sent == bytes && at.elapsed() < REPEAT_EVERY) {
            return Ok(());
        }
        self.bucket.put(&BucketLayout::status_key(&self.site.name), &bytes).await?;
        self.sent = Some((bytes, Instant::now()));
        Ok(())
    }
}

async fn deployment_of(bucket: &Bucket, host: &HostName) -> Result<DeploymentName, String> {
    let key = BucketLayout::desired_key(host);
    let bytes = bucket.get(&key).await.map_err(|error| error.to_string())?;
    let spec: HostSpec = serde_json::from_slice(&bytes).map_err(|error| format!("{key}: not a host spec: {error}"))?;
    Ok(spec.deployment)
}

/// The one deployment whose host spec for this host an earlier agent left on the disk.
fn left_here(home: &HomeLayout, host: &HostName) -> Option<DeploymentName> {
    let folders = fs::read_dir(home.deployments()).ok()?.flatten();
    let names = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<DeploymentName>().ok());
    let mut known = names.filter(|name| home.deployment(name).bucket().desired(host).is_file());
    known.next().filter(|_| known.next().is_none())
}

fn host_spec(path: &Path) -> Option<HostSpec> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    fs::read(path).is_ok_and(|there| there == bytes)
}

fn complain(earlier: &mut Option<String>, message: &str) {
    if earlier.as_deref() != Some(message) {
        tracing::error!(target: "console", "{message}; trying again");
        *earlier = Some(message.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path as Key};
    use serde_json::json;
    use sha2::{Digest, Sha256};

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
            Mirror::begin(self.bucket(), &self.home, &self.host).await
        }

        /// A gateway with one secret on its command line and one in its files.
        async fn put_desired(&self, generation: u64, program: &[u8]) -> String {
            let sha256 = hex::encode(Sha256::digest(program));
            let unit = json!({"name": "dsgate", "artifact": {"name": "dsgate", "sha256": sha256},
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
        assert_eq!(fs::read(&secret).unwrap(), b"k");
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
        let mut mirror = Mirror::begin(empty, &scene.home, &scene.host).await;
        assert_eq!(mirror.site().deployment.as_str(), "demo");
        mirror.look().await;
        assert!(done(&mirror, 1));
        assert!(mirror.complaint.is_some());
    }
}
