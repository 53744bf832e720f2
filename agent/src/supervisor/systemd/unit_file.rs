//! A unit as systemd takes it: what it runs, as whom, and what it can reach. Pure.
//!
//! A unit sees nothing of the agent's folder but the files that are bound into it, at the paths that its command line names.

use std::fmt::Write as _;
use std::path::Path;

use spec::id::UnitName;

use super::super::Launch;

/// Members may read what units need and nobody else may: secrets, configuration.
pub(super) const GROUP: &str = "dsctl-secrets";
/// Systemd leaves keys of this prefix alone.
const FINGERPRINT: &str = "X-DsctlFingerprint=";
/// Ports below it are the privileged ones.
const FIRST_OPEN_PORT: u16 = 1024;
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What every unit may not do. The cloud's metadata service hands out the machine's own rights: no unit reaches it.
const CONFINED: &str = "NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
IPAddressDeny=169.254.169.254/32 fd00:ec2::254/128
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
LimitNOFILE=65536
LimitCORE=0
TasksMax=4096
OOMPolicy=stop
";
/// The daemon: the graphics cards, and what their driver compiles at run time.
const WITH_CARDS: &str = "DevicePolicy=closed
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia-caps rw
DeviceAllow=char-nvidia-uvm rw
MemoryMax=95%
";
const WITHOUT_CARDS: &str = "PrivateDevices=yes
MemoryDenyWriteExecute=yes
MemoryMax=50%
";

/// Who a program runs as.
pub(super) fn user_of(launch: &Launch) -> String {
    launch.program.file_name().map_or_else(|| "nobody".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The daemon computes on graphics cards where there are some.
pub(super) fn has_cards(launch: &Launch) -> bool {
    user_of(launch) == "dsserve"
}

/// The whole file; `home` is hidden from the unit but for what it needs.
pub(super) fn render(unit: &UnitName, launch: &Launch, home: &Path) -> String {
    let mut file = format!(
        "# Made by dsctl's agent, and again at each start.\n[Unit]\nDescription=dsctl's {unit}\n{FINGERPRINT}{}\n\
         StartLimitIntervalSec=0\n\n[Service]\nType=exec\nUser={user}\nGroup={user}\nSupplementaryGroups={GROUP}\n",
        launch.fingerprint,
        user = user_of(launch),
    );
    push(&mut file, "ExecStart", command_line(launch));
    for (name, value) in environment(launch) {
        push(&mut file, "Environment", quoted(&format!("{name}={value}")));
    }
    push(&mut file, "StandardOutput", format!("append:{}", path_text(&launch.log)));
    push(&mut file, "StandardError", format!("append:{}", path_text(&launch.log)));
    // The agent starts it again too, with growing pauses; this is for the time when there is no agent.
    file.push_str("Restart=always\nRestartSec=30\n");
    // Both programs say every few seconds that they live, from their first moment.
    file.push_str("NotifyAccess=main\nWatchdogSec=30\n");
    push(&mut file, "TimeoutStopSec", launch.stop_grace.as_secs().max(1));
    file.push_str(CONFINED);
    file.push_str(if has_cards(launch) { WITH_CARDS } else { WITHOUT_CARDS });
    push(&mut file, "CapabilityBoundingSet", capabilities(launch));
    push(&mut file, "AmbientCapabilities", capabilities(launch));
    push(&mut file, "TemporaryFileSystem", format!("{}:ro", path_text(home)));
    for path in [&launch.program].into_iter().chain(&launch.reads).chain(&launch.shared) {
        push(&mut file, "BindReadOnlyPaths", path_text(path));
    }
    push(&mut file, "BindPaths", path_text(&launch.data));
    file
}

/// Of the unit that a file describes.
pub(super) fn fingerprint_in(file: &str) -> Option<&str> {
    file.lines().find_map(|line| line.strip_prefix(FINGERPRINT))
}

fn push(file: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    writeln!(file, "{key}={value}").unwrap_or(());
}

fn command_line(launch: &Launch) -> String {
    let words = [launch.program.display().to_string()].into_iter().chain(launch.args.iter().cloned());
    words.map(|word| quoted(&word).replace('$', "$$")).collect::<Vec<_>>().join(" ")
}

/// Its own, and how this host reaches the world.
fn environment(launch: &Launch) -> Vec<(String, String)> {
    let both_cases = PROXIES.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()]);
    let inherited = both_cases.filter_map(|name| std::env::var(&name).ok().map(|value| (name, value)));
    inherited.chain(launch.env.clone()).collect()
}

fn capabilities(launch: &Launch) -> &'static str {
    if launch.ports.iter().any(|port| *port < FIRST_OPEN_PORT) { "CAP_NET_BIND_SERVICE" } else { "" }
}

/// As one word, whatever it holds.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '%' => text.push_str("%%"),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

fn path_text(path: &Path) -> String {
    path.display().to_string().replace('%', "%%").replace(' ', "\\x20").replace(':', "\\:")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    pub fn launch() -> Launch {
        Launch {
            program: "/var/lib/dsctl/artifacts/00/dsgate".into(),
            args: vec![
                "--config".to_owned(),
                "/var/lib/dsctl/f/gateway.json".to_owned(),
                "50% of $HOME \"\\".to_owned(),
            ],
            env: BTreeMap::from([("GREETING".to_owned(), "good day".to_owned())]),
            log: "/var/lib/dsctl/logs/dsgate.log".into(),
            fingerprint: "f00d".to_owned(),
            reads: vec!["/var/lib/dsctl/weights/w".into()],
            shared: vec!["/var/lib/dsctl/secrets/api-key".into()],
            data: "/var/lib/dsctl/data/dsgate".into(),
            ports: vec![443, 9090],
            stop_grace: Duration::from_secs(35),
        }
    }

    fn file() -> String {
        render(&"dsgate".parse().unwrap(), &launch(), Path::new("/var/lib/dsctl"))
    }

    fn has(file: &str, line: &str) -> bool {
        file.lines().any(|found| found == line)
    }

    #[test]
    fn words_come_through_as_they_are() {
        let line = r#"ExecStart="/var/lib/dsctl/artifacts/00/dsgate" "--config" "/var/lib/dsctl/f/gateway.json" "50%% of $$HOME \"\\""#;
        assert!(has(&file(), line), "{}", file());
        assert!(has(&file(), r#"Environment="GREETING=good day""#), "{}", file());
    }

    #[test]
    fn it_sees_of_the_agents_folder_only_what_it_needs() {
        let file = file();
        assert!(has(&file, "TemporaryFileSystem=/var/lib/dsctl:ro"));
        let bound: Vec<&str> = file.lines().filter(|line| line.starts_with("Bind")).collect();
        assert_eq!(
            bound,
            [
                "BindReadOnlyPaths=/var/lib/dsctl/artifacts/00/dsgate",
                "BindReadOnlyPaths=/var/lib/dsctl/weights/w",
                "BindReadOnlyPaths=/var/lib/dsctl/secrets/api-key",
                "BindPaths=/var/lib/dsctl/data/dsgate",
            ]
        );
        assert!(has(&file, "IPAddressDeny=169.254.169.254/32 fd00:ec2::254/128"));
        assert!(has(&file, "User=dsgate") && has(&file, "NoNewPrivileges=yes") && has(&file, "PrivateDevices=yes"));
    }

    #[test]
    fn a_privileged_port_takes_the_one_capability_and_no_other_unit_has_any() {
        assert!(has(&file(), "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"));
        let daemon = Launch { ports: vec![8081], program: "/a/dsserve".into(), ..launch() };
        let file = render(&"dsserve".parse().unwrap(), &daemon, Path::new("/var/lib/dsctl"));
        assert!(has(&file, "CapabilityBoundingSet=") && has(&file, "AmbientCapabilities="), "{file}");
        assert!(has(&file, "DeviceAllow=char-nvidia rw") && !has(&file, "PrivateDevices=yes"), "{file}");
    }

    #[test]
    fn the_fingerprint_is_read_back() {
        assert_eq!(fingerprint_in(&file()), Some("f00d"));
        assert_eq!(fingerprint_in("[Unit]\n"), None);
    }
}
