//! One key a user. To erase a user is to drop the key: what was sealed under it nobody can read, and the chain stays whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::keys::Keys;
use crate::record::Who;

const NONCE_BYTES: usize = 12;

/// The folder of the users' keys.
#[derive(Debug, Clone)]
pub struct People {
    folder: PathBuf,
}

/// A user's key.
pub(crate) struct Person(pub(crate) [u8; 32]);

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(…)")
    }
}

impl Person {
    /// What stands for the user in all of the user's records.
    pub(crate) fn tag(&self) -> String {
        hex::encode(&sign(&Key::new(HMAC_SHA256, &self.0), b"tag").as_ref()[..16])
    }

    pub(crate) fn seal(&self, who: &Who) -> io::Result<String> {
        let mut text = serde_json::to_vec(who)?;
        let nonce = self.cipher()?.seal_in_place_append_tag(Aad::empty(), &mut text).map_err(no_cipher)?;
        Ok(hex::encode([nonce.as_ref().as_slice(), &text].concat()))
    }

    pub(crate) fn open(&self, sealed: &str) -> Option<Who> {
        let mut bytes = hex::decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.cipher().ok()?.open_in_place(nonce, Aad::empty(), text).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn cipher(&self) -> io::Result<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(no_cipher)
    }
}

fn no_cipher(error: aws_lc_rs::error::Unspecified) -> io::Error {
    io::Error::other(error)
}

impl People {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Of a log's folder.
    pub fn of(log: &Path) -> Self {
        Self::new(log.join("users"))
    }

    /// Makes the folder. Nothing below makes it again: a log that was moved away is not begun anew by halves.
    pub(crate) fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// The user's key; a new one is on disk before anything is sealed under it.
    pub(crate) fn person(&self, keys: &Keys, user: &str) -> io::Result<Person> {
        let path = self.path(keys, user);
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            known => return known,
        }
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(no_cipher)?;
        self.write(&path, &key)?;
        Ok(Person(key))
    }

    fn write(&self, path: &Path, key: &[u8; 32]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let unfinished = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(hex::encode(key).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// Whether there was one. Its bytes are written over first, where the disk does that in place.
    pub fn drop_key(&self, keys: &Keys, user: &str) -> io::Result<bool> {
        let path = self.path(keys, user);
        // Out of the way first: what is written over it is a key that anybody knows, and must be nobody's.
        let gone = path.with_extension("gone");
        match fs::rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed?,
        }
        let mut file = File::options().write(true).open(&gone)?;
        file.write_all(&[b'0'; 64])?;
        file.sync_all()?;
        fs::remove_file(&gone)?;
        File::open(path.parent().unwrap_or(&self.folder))?.sync_all()?;
        Ok(true)
    }

    /// What a user's records are marked with; none once the user is erased.
    pub fn tag(&self, keys: &Keys, user: &str) -> io::Result<Option<String>> {
        match read(&self.path(keys, user)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            person => Ok(Some(person?.tag())),
        }
    }

    /// All that are known, by their tags.
    pub(crate) fn all(&self) -> io::Result<HashMap<String, Person>> {
        let mut all = HashMap::new();
        for folder in entries(&self.folder)? {
            for path in entries(&folder)?.into_iter().filter(|path| path.extension().is_none()) {
                let person = read(&path)?;
                all.insert(person.tag(), person);
            }
        }
        Ok(all)
    }

    fn path(&self, keys: &Keys, user: &str) -> PathBuf {
        let place = keys.place_of(user);
        self.folder.join(&place[..2]).join(place)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

fn read(path: &Path) -> io::Result<Person> {
    let text = fs::read_to_string(path)?;
    let key = hex::decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    let no_key = || io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no key", path.display()));
    key.map(Person).ok_or_else(no_key)
}
