//! What somebody needs to see what is wrong with a host, in one file, without secrets: status, host spec, logs, measurements, and
//! what the operating system says. What can't be had says so in its place.
//!
//! ```text
//! sources (files, pages, commands) -> redact -> diagnostics.zip beside the status, which the mirror takes to the bucket
//! ```

mod redact;
mod sources;

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::Path;

use engine::store::write_durably;
use spec::host::HostSpec;
use zip::ZipWriter;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;

use crate::site::Site;
use redact::Redactor;

/// One file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in there.
    pub path: String,
    pub text: String,
}

/// Says how much there is.
pub(crate) async fn collect(site: &Site, spec: &HostSpec, client: &reqwest::Client) -> Result<String, String> {
    let mut entries = sources::pages(spec, client).await;
    let (site, spec) = (site.clone(), spec.clone());
    let packed = tokio::task::spawn_blocking(move || {
        entries.extend(sources::files(&site, &spec));
        entries.extend(sources::commands());
        pack(&site, entries)
    });
    packed.await.map_err(|error| error.to_string())?
}

fn pack(site: &Site, mut entries: Vec<Entry>) -> Result<String, String> {
    let redactor = Redactor::new(&secrets(site)?).map_err(|error| error.to_string())?;
    for entry in &mut entries {
        entry.text = redactor.redact(&entry.text);
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let bytes = archive(&entries).map_err(|error| format!("packing: {error}"))?;
    let path = site.diagnostics();
    write_durably(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{} files, {} KiB", entries.len(), bytes.len().div_ceil(1024)))
}

/// Of every secret that lies on this host, whatever it is for: without all of them nothing is packed.
fn secrets(site: &Site) -> Result<Vec<String>, String> {
    let folder = site.bucket.secrets();
    let failed = |path: &Path, error: io::Error| format!("{}: {error}; nothing was packed", path.display());
    let found = fs::read_dir(&folder).map_err(|error| failed(&folder, error))?;
    let read = |entry: io::Result<fs::DirEntry>| {
        let path = entry.map_err(|error| failed(&folder, error))?.path();
        fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| failed(&path, error))
    };
    found.map(read).collect()
}

fn archive(entries: &[Entry]) -> ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for Entry { path, text } in entries {
        archive.start_file(path.as_str(), SimpleFileOptions::default().unix_permissions(0o600))?;
        archive.write_all(text.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use spec::layout::HomeLayout;

    use super::*;

    fn site(folder: &Path) -> Site {
        let home = HomeLayout::new(folder);
        let site = Site::new(&home, &"demo".parse().unwrap(), &"main".parse().unwrap());
        fs::create_dir_all(site.bucket.secrets()).unwrap();
        fs::create_dir_all(site.diagnostics().parent().unwrap()).unwrap();
        site
    }

    #[test]
    fn the_bundle_holds_everything_but_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let site = site(folder.path());
        fs::write(site.bucket.secrets().join("api-key"), "dsc-0123456789\n").unwrap();
        let entry = |path: &str, text: &str| Entry { path: path.to_owned(), text: text.to_owned() };
        let entries = vec![entry("b/log", "asked with dsc-0123456789 twice"), entry("a", "plain")];
        assert_eq!(pack(&site, entries).unwrap(), "2 files, 1 KiB");
        let mut archive = zip::ZipArchive::new(fs::File::open(site.diagnostics()).unwrap()).unwrap();
        for (path, wanted) in [("a", "plain"), ("b/log", "asked with [REDACTED] twice")] {
            let mut text = String::new();
            archive.by_name(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
        assert_eq!(archive.len(), 2);
    }

    #[test]
    fn where_a_secret_can_not_be_read_nothing_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let site = site(folder.path());
        fs::create_dir(site.bucket.secrets().join("api-key")).unwrap();
        let error = pack(&site, Vec::new()).unwrap_err();
        assert!(error.contains("api-key") && error.contains("nothing was packed"), "{error}");
        assert!(!site.diagnostics().exists());
    }
}
