//! The task that keeps bucket and folder alike, for as long as the agent lives.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use engine::store::write_durably;
use spec::host::{ArtifactSpec, HostSpec, HostSpecHead};
use spec::id::{DeploymentName, HostName};
use spec::layout::{BucketLayout, HomeLayout};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::successor::Successor;
use super::supply::{Needs, bring_program};
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
    /// When the diagnostics bundle was written that the bucket was given last.
    bundle: Option<SystemTime>,
    supply: watch::Sender<Supply>,
    /// Said once, not at every look.
    complaint: Option<String>,
    successor: Arc<dyn Successor>,
    /// Of the host spec that lies in the bucket, where its agent is another one.
    succession: Succession,
}

/// Whether another program takes this one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Succession {
    /// Nobody does.
    None,
    /// This process ends soon; it takes nothing up any more.
    UnderWay,
    /// It is not there, or would not do; this one goes on as before.
    Refused { message: String },
}

impl Mirror {
    /// Waits until it is known which deployment this host belongs to: by the bucket, or by what an earlier agent left here.
    pub async fn begin(bucket: Bucket, home: &HomeLayout, host: &HostName, successor: Arc<dyn Successor>) -> Self {
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
        let supply = watch::Sender::new(Supply::Unknown);
        Self {
            site,
            bucket,
            tag: None,
            sent: None,
            bundle: None,
            supply,
            complaint,
            successor,
            succession: Succession::None,
        }
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
        if self.succession == Succession::UnderWay {
            return Ok(());
        }
        let key = BucketLayout::desired_key(&self.site.name);
        let Some(found) = self.bucket.get_unless(&key, self.tag.as_deref()).await? else {
            return Ok(());
        };
        self.succession = match self.succeed(&found.bytes).await {
            Ok(succession) => succession,
            Err(error) => {
                self.succession = Succession::Refused { message: error.to_string() };
                return Err(error);
            }
        };
        match self.succession {
            Succession::None => {}
            Succession::UnderWay => return Ok(()),
            Succession::Refused { .. } => {
                self.tag = found.tag;
                return Ok(());
            }
        }
        let path = self.site.desired();
        if !holds(&path, &found.bytes) {
            let disk = |source| BucketError::Disk { what: format!("writing {}", path.display()), source };
            write_durably(&path, &found.bytes).map_err(disk)?;
        }
        self.tag = found.tag;
        Ok(())
    }

    /// Makes way for the agent that the host spec names, before anything else of it is looked at.
    async fn succeed(&self, host_spec: &[u8]) -> Result<Succession, BucketError> {
        let Ok(head) = serde_json::from_slice::<HostSpecHead>(host_spec) else { return Ok(Succession::None) };
        let Some(agent) = head.agent.filter(|agent| !self.successor.is_in_place(&agent.sha256)) else {
            return Ok(Succession::None);
        };
        bring_program(&self.site, &self.bucket, &agent).await?;
        match self.hand_over(&agent, host_spec).await {
            Ok(()) => Ok(Succession::UnderWay),
            Err(message) => {
                let message = format!("dsctl {} can't be the agent here: {message}", agent.sha256);
                tracing::error!(target: "console", "{message}; the one that runs goes on");
                Ok(Succession::Refused { message })
            }
        }
    }

    async fn hand_over(&self, agent: &ArtifactSpec, host_spec: &[u8]) -> Result<(), String> {
        let program = self.site.home.artifact(&agent.sha256, &agent.name);
        self.successor.rehearse(&program, host_spec).await?;
        tracing::info!(target: "console", "agent: dsctl {} takes over", agent.sha256);
        self.successor.take_over(&program).await
    }

    /// Of the host spec that lies on the disk, wherever it came from.
    async fn supply(&mut self) {
        let Some(spec) = host_spec(&self.site.desired()) else { return };
        let generation = spec.generation;
        if self.supply.borrow().is_complete(generation) {
            return self.hold(generation);
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

    /// What is complete stays in force; whether anything stands against the host spec after it is told with it.
    fn hold(&self, generation: u64) {
        let Succession::Refused { message } = &self.succession else { return };
        self.supply.send_if_modified(|now| {
            let held = Supply::Held { generation, message: message.clone() };
            let is_news = *now != held;
            *now = held;
            is_news
        });
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
        // Before the status that says it is there.
        self.send_bundle().await?;
        self.bucket.put(&BucketLayout::status_key(&self.site.name), &bytes).await?;
        self.sent = Some((bytes, Instant::now()));
        Ok(())
    }
}

impl Mirror {
    async fn send_bundle(&mut self) -> Result<(), BucketError> {
        let path = self.site.diagnostics();
        let disk = |source| BucketError::Disk { what: format!("reading {}", path.display()), source };
        let written = match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(disk(source)),
        };
        if self.bundle != Some(written) {
            let bytes = fs::read(&path).map_err(disk)?;
            self.bucket.put(&BucketLayout::diagnostics_key(&self.site.name), &bytes).await?;
            self.bundle = Some(written);
        }
        Ok(())
    }
}

async fn deployment_of(bucket: &Bucket, host: &HostName) -> Result<DeploymentName, String> {
    let key = BucketLayout::desired_key(host);
    let bytes = bucket.get(&key).await.map_err(|error| error.to_string())?;
    let head: HostSpecHead =
        serde_json::from_slice(&bytes).map_err(|error| format!("{key}: not a host spec: {error}"))?;
    Ok(head.deployment)
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
mod tests;
