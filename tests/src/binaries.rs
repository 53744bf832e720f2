//! The programs under test, built once a test process by the same cargo, profile and target folder as the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs lie, all three of this very source.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build)
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// A folder under the target folder for what outlives a test: weights, the virtual environment.
pub fn kept(name: &str) -> PathBuf {
    let folder = target().join(name);
    fs::create_dir_all(&folder).expect("a folder under the target folder");
    folder
}

/// A folder of a test's own, gone with the value. On the disk of the target folder: `/tmp` may be small.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("t").tempdir_in(kept("test-scratch")).expect("a scratch folder")
}

/// Held by whoever runs processes that want the whole machine, in this process or another: two cores starve otherwise.
pub fn alone() -> File {
    let file = File::create(kept("test-locks").join("machine")).expect("a lock file");
    file.lock().expect("the machine's lock");
    file
}

/// `target/PROFILE/deps/TEST` is what runs now.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let profile = own.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    profile.to_owned()
}

fn target() -> PathBuf {
    profile_folder().parent().expect("the target folder").to_owned()
}

fn build() -> PathBuf {
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} has no name", folder.display()),
    };
    let clouds = [("aws", cfg!(feature = "aws")), ("azure", cfg!(feature = "azure")), ("gcp", cfg!(feature = "gcp"))];
    let clouds = clouds.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect::<Vec<_>>().join(",");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--workspace", "--bins", "--locked", "--quiet", "--profile", profile, "--target-dir"])
        .arg(target())
        .args(["--features", &clouds])
        .current_dir(workspace())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "the programs do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    folder
}
