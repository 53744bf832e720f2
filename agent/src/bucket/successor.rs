//! Another `dsctl` takes this agent's place: it is asked first whether it can carry the host spec out, and then made the
//! service's program.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use spec::id::{HostName, Sha256};
use spec::layout::HomeLayout;
use spec::state_location::StateLocation;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::install;
use crate::weights::digest_of;

/// For a program that only reads what it is given.
const REHEARSAL: Duration = Duration::from_secs(30);

#[async_trait]
pub(crate) trait Successor: Debug + Send + Sync {
    /// Whether this process is that program; also when that can't be told, so that nothing changes places for ever.
    fn is_in_place(&self, wanted: &Sha256) -> bool;

    /// Whether the program runs here and reads the host spec; else why not.
    async fn rehearse(&self, program: &Path, host_spec: &[u8]) -> Result<(), String>;

    /// From now on and at every boot it is the agent; this process is told to end soon after.
    async fn take_over(&self, program: &Path) -> Result<(), String>;
}

/// The agent as a service of systemd.
#[derive(Debug)]
pub(crate) struct Service {
    home: PathBuf,
    bucket: StateLocation,
    host: HostName,
    own: Option<Sha256>,
}

impl Service {
    pub fn new(home: &HomeLayout, bucket: &StateLocation, host: &HostName) -> Self {
        // Not its path, under which another program may lie by now.
        let own = digest_of(Path::new("/proc/self/exe"), &mut |_| Ok(()));
        let own = own.inspect_err(|error| tracing::warn!(%error, "can't read the agent's own program")).ok();
        Self { home: home.root().to_owned(), bucket: bucket.clone(), host: host.clone(), own }
    }
}

#[async_trait]
impl Successor for Service {
    fn is_in_place(&self, wanted: &Sha256) -> bool {
        self.own.as_ref().is_none_or(|own| own == wanted)
    }

    async fn rehearse(&self, program: &Path, host_spec: &[u8]) -> Result<(), String> {
        rehearse(program, host_spec).await
    }

    async fn take_over(&self, program: &Path) -> Result<(), String> {
        let (program, home) = (program.to_owned(), self.home.clone());
        let (bucket, host) = (self.bucket.clone(), self.host.clone());
        let done = tokio::task::spawn_blocking(move || install::renew(&program, &home, &bucket, &host)).await;
        done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

async fn rehearse(program: &Path, host_spec: &[u8]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["agent", "--rehearse"]).kill_on_drop(true);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("it does not start: {error}"))?;
    match tokio::time::timeout(REHEARSAL, answer(child, host_spec)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it did not answer within {} s", REHEARSAL.as_secs())),
    }
}

async fn answer(mut child: Child, host_spec: &[u8]) -> Result<(), String> {
    if let Some(mut input) = child.stdin.take() {
        // One that ends early does not read it all; its exit status tells why.
        if let Err(error) = input.write_all(host_spec).await {
            tracing::debug!(%error, "a rehearsal did not read its host spec");
        }
    }
    let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn rehearsed(script: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dsctl");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        rehearse(&program, b"{\"generation\": 7}").await
    }

    #[tokio::test]
    async fn a_program_that_reads_the_host_spec_may_take_over() {
        rehearsed("#!/bin/sh\ntest \"$*\" = 'agent --rehearse' && grep -q '\"generation\": 7'\n").await.unwrap();
    }

    #[tokio::test]
    async fn one_that_refuses_it_says_why_and_one_that_is_no_program_is_named() {
        let refused = rehearsed("#!/bin/sh\necho 'no such field' >&2\nexit 2\n").await.unwrap_err();
        assert_eq!(refused, "exit status: 2: no such field");
        let broken = rehearsed("not a program").await.unwrap_err();
        assert!(broken.starts_with("it does not start: "), "{broken}");
    }
}
