//! What a host's first boot leaves to the agent: its own service, and how much the journal keeps.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use spec::id::HostName;
use spec::state_location::StateLocation;

const SERVICE: &str = "dsctl-agent.service";
const UNITS: &str = "/etc/systemd/system";
const JOURNAL_FILE: &str = "/etc/systemd/journald.conf.d/dsctl.conf";
const JOURNAL: &str =
    "# Made by dsctl's agent.\n[Journal]\nStorage=persistent\nSystemMaxUse=1G\nMaxRetentionSec=1month\n";
/// How the host reaches its cloud: what the first boot's script knows, the service is told.
const HANDED_ON: [&str; 10] = [
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AZURE_MSI_RESOURCE_ID",
    "DSCTL_GCP_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{command} failed: {said}")]
    Command { command: String, said: String },
}

/// Writes the agent's service and starts it; the same again changes nothing that runs. As root.
pub fn install(program: &Path, home: &Path, bucket: &StateLocation, host: &HostName) -> Result<(), InstallError> {
    write_service(program, home, bucket, host)?;
    write(Path::new(JOURNAL_FILE), JOURNAL)?;
    run(&["daemon-reload"])?;
    run(&["try-restart", "systemd-journald.service"])?;
    run(&["enable", SERVICE])?;
    // Not waited for: it waits for its bucket.
    run(&["start", "--no-block", SERVICE])
}

/// Another program is the service's from now on. Asked for by the agent itself, which systemd then ends.
pub(crate) fn renew(program: &Path, home: &Path, bucket: &StateLocation, host: &HostName) -> Result<(), InstallError> {
    write_service(program, home, bucket, host)?;
    run(&["daemon-reload"])?;
    run(&["restart", "--no-block", SERVICE])
}

fn write_service(program: &Path, home: &Path, bucket: &StateLocation, host: &HostName) -> Result<(), InstallError> {
    let environment = HANDED_ON.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let environment: Vec<(&str, String)> = environment.filter(|(_, value)| !value.is_empty()).collect();
    let service = Service { program, home, bucket, host, environment: &environment };
    write(&PathBuf::from(UNITS).join(SERVICE), &service.render())
}

struct Service<'a> {
    program: &'a Path,
    home: &'a Path,
    bucket: &'a StateLocation,
    host: &'a HostName,
    environment: &'a [(&'a str, String)],
}

impl Service<'_> {
    /// It installs packages and starts services, so it is root; it opens nothing to the outside. `ProtectClock` would take the
    /// graphics cards from it too, which it measures.
    fn render(&self) -> String {
        let Self { program, home, bucket, host, environment } = self;
        let (program, home) = (program.display(), home.display());
        let named =
            environment.iter().map(|(name, value)| format!("Environment=\"{name}={}\"\n", value.replace('%', "%%")));
        let named: String = named.collect();
        format!(
            "# Made by dsctl's first boot.
[Unit]
Description=dsctl's agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStart={program} agent --bucket {bucket} --host {host}
Environment=\"DSCTL_HOME={home}\"
{named}# Its lines about the phases; all else that it writes goes to the journal alone.
StandardOutput=journal+console
StandardError=journal
Restart=always
RestartSec=5
UMask=0077
ProtectHome=yes
PrivateTmp=yes
ProtectHostname=yes
ProtectKernelLogs=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
LimitNOFILE=65536
LimitCORE=0
MemoryMax=2G

[Install]
WantedBy=multi-user.target
"
        )
    }
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), InstallError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |source| InstallError::Io { what: format!("writing {}", path.display()), source };
    // The power may go before the disk has it.
    let beside = path.with_extension("new");
    let write =
        || File::create(&beside).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let moved = || fs::rename(&beside, path);
    fs::create_dir_all(folder).and_then(|()| write()).and_then(|()| moved()).map_err(failed)
}

fn run(words: &[&str]) -> Result<(), InstallError> {
    let command = format!("systemctl {}", words.join(" "));
    let output = Command::new("systemctl").args(words).output();
    let output = output.map_err(|source| InstallError::Io { what: command.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(InstallError::Command { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_says_where_its_deployment_is_and_what_the_first_boot_knew() {
        let environment = [("AWS_REGION", "eu-west-1".to_owned()), ("HTTPS_PROXY", "http://p:1/%2f".to_owned())];
        let service = Service {
            program: Path::new("/usr/local/bin/dsctl"),
            home: Path::new("/var/lib/dsctl"),
            bucket: &"az://account/dsctl".parse().unwrap(),
            host: &"main".parse().unwrap(),
            environment: &environment,
        };
        let text = service.render();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        has("ExecStart=/usr/local/bin/dsctl agent --bucket az://account/dsctl --host main");
        has("Environment=\"DSCTL_HOME=/var/lib/dsctl\"");
        has("Environment=\"AWS_REGION=eu-west-1\"");
        has("Environment=\"HTTPS_PROXY=http://p:1/%%2f\"");
        has("Restart=always");
    }
}
