//! A package repository in a machine's network: one package, and an index signed with a key of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use sha2::{Digest, Sha256};

use crate::binaries;
use crate::http::runtime;
use crate::process::run;

const SUITE: &str = "dists/stable";

/// Gone with the value.
#[derive(Debug)]
pub struct Repository {
    folder: tempfile::TempDir,
    /// Of the key that the index is signed with.
    pub fingerprint: String,
}

impl Repository {
    /// With a package of these files: path on the machine, what is there, its mode.
    #[track_caller]
    pub fn of(package: &str, files: &[(&str, &str, u32)], after: &str) -> Self {
        let folder = binaries::scratch();
        let repository = Self { fingerprint: make_key(folder.path()), folder };
        repository.build(package, files, after);
        repository.index();
        repository
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("served").join(below)
    }

    fn build(&self, package: &str, files: &[(&str, &str, u32)], after: &str) {
        let tree = self.folder.path().join("tree");
        for (path, content, mode) in files {
            write(&tree.join(path.trim_start_matches('/')), content, *mode);
        }
        let architecture = run(Command::new("dpkg").arg("--print-architecture")).exits(0).stdout;
        let control = format!(
            "Package: {package}\nVersion: 1.0\nArchitecture: {}\nMaintainer: tests <tests@example.org>\nDescription: stands in\n",
            architecture.trim()
        );
        write(&tree.join("DEBIAN/control"), &control, 0o644);
        write(&tree.join("DEBIAN/postinst"), after, 0o755);
        let made = self.path(&format!("pool/{package}.deb"));
        fs::create_dir_all(made.parent().expect("a folder")).expect("a pool");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&made)).exits(0);
        let bytes = fs::read(&made).expect("a package");
        let digest = hex::encode(Sha256::digest(&bytes));
        let entry = format!("{control}Filename: pool/{package}.deb\nSize: {}\nSHA256: {digest}\n", bytes.len());
        let listed = format!("main/binary-{}/Packages", architecture.trim());
        write(&self.path(&format!("{SUITE}/{listed}")), &entry, 0o644);
        let release = format!(
            "Suite: stable\nArchitectures: {}\nComponents: main\nDate: {}\nSHA256:\n {} {} {listed}\n",
            architecture.trim(),
            jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC"),
            hex::encode(Sha256::digest(&entry)),
            entry.len()
        );
        write(&self.folder.path().join("Release"), &release, 0o644);
    }

    fn index(&self) {
        let signed = self.path(&format!("{SUITE}/InRelease"));
        let unsigned = self.folder.path().join("Release");
        run(gpg(self.folder.path()).arg("--output").arg(signed).arg("--clearsign").arg(unsigned)).exits(0);
        let key = run(gpg(self.folder.path()).args(["--armor", "--export"])).exits(0).stdout;
        write(&self.path("gpg.key"), &key, 0o644);
    }

    /// Answers on this listener until the process ends.
    pub fn serve(&self, listener: TcpListener) {
        let router = Router::new().fallback(answer).with_state(self.path(""));
        listener.set_nonblocking(true).expect("a listener for the runtime");
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("the repository serves");
        });
    }
}

async fn answer(State(root): State<PathBuf>, uri: Uri) -> Result<Vec<u8>, StatusCode> {
    fs::read(root.join(uri.path().trim_start_matches('/'))).map_err(|_| StatusCode::NOT_FOUND)
}

fn make_key(folder: &Path) -> String {
    let home = folder.join("gnupg");
    fs::create_dir(&home).expect("a folder for keys");
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a private folder");
    run(gpg(folder).args([
        "--passphrase",
        "",
        "--quick-generate-key",
        "tests <tests@example.org>",
        "rsa2048",
        "sign",
        "never",
    ]))
    .exits(0);
    let listed = run(gpg(folder).args(["--with-colons", "--list-keys"])).exits(0).stdout;
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:"));
    fingerprint.expect("a fingerprint").trim_matches(':').to_owned()
}

fn gpg(folder: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--homedir"]).arg(folder.join("gnupg"));
    gpg
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders of the package");
    fs::write(path, content).expect("a file of the package");
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("its mode");
}
