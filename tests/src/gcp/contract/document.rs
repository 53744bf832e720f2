//! Google's descriptions of its own APIs, out of the wheel of google-api-python-client: the same package reads our account.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use super::super::lock;
use super::route::Template;
use crate::python;

/// What python's environment of these tests is made of.
pub const REQUIREMENTS: &str = "gcp-requirements.txt";

/// Beginnings of paths, and the documents that describe them, in the order in which they are asked.
const SERVED: [(&str, &[&str]); 6] = [
    ("/compute/v1/", &["compute.v1"]),
    ("/storage/v1/", &["storage.v1"]),
    ("/upload/storage/v1/", &["storage.v1"]),
    ("/download/storage/v1/", &["storage.v1"]),
    ("/v1/", &["iam.v1", "cloudresourcemanager.v1"]),
    ("/v3/", &["cloudresourcemanager.v3"]),
];

#[derive(Debug)]
pub(in crate::gcp) struct Document {
    pub name: String,
    pub json: &'static Value,
    pub methods: Vec<Method>,
}

#[derive(Debug)]
pub(in crate::gcp) struct Method {
    /// `compute.instances.insert`.
    pub id: &'static str,
    pub verb: &'static str,
    pub described: &'static Value,
    /// Where it is called: uploads and downloads of content have places of their own.
    pub templates: Vec<Template>,
}

/// Names of the documents that may describe a path.
pub(super) fn of_path(path: &str) -> &'static [&'static str] {
    let served = SERVED.iter().find(|(begins, _)| path.starts_with(begins));
    served.map_or(&[], |(_, names)| names)
}

/// Read once a process.
pub(super) fn document(name: &str) -> &'static Document {
    static READ: OnceLock<Mutex<HashMap<String, &'static Document>>> = OnceLock::new();
    let mut read = lock(READ.get_or_init(Mutex::default));
    read.entry(name.to_owned()).or_insert_with(|| Box::leak(Box::new(Document::read(name))))
}

impl Document {
    fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.json"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: &'static Value = Box::leak(Box::new(json));
        let base = format!("/{}", json["servicePath"].as_str().unwrap_or_default());
        let mut methods = Vec::new();
        gather(json, &base, &mut methods);
        Self { name: name.to_owned(), json, methods }
    }
}

/// Where the wheel keeps them.
pub(in crate::gcp) fn folder() -> PathBuf {
    let library = python::environment(REQUIREMENTS).join("lib");
    let versions = fs::read_dir(&library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    let packages = versions.flatten().map(|version| version.path().join("site-packages"));
    let folders = packages.map(|packages| packages.join("googleapiclient/discovery_cache/documents"));
    folders.into_iter().find(|folder| folder.is_dir()).expect("the documents of google-api-python-client")
}

/// Methods of a resource and of those within it.
fn gather(resource: &'static Value, base: &str, methods: &mut Vec<Method>) {
    let own = resource["methods"].as_object().into_iter().flat_map(|own| own.values());
    methods.extend(own.map(|described| Method::new(described, base)));
    for inner in resource["resources"].as_object().into_iter().flat_map(|inner| inner.values()) {
        gather(inner, base, methods);
    }
}

impl Method {
    fn new(described: &'static Value, base: &str) -> Self {
        let text = |name: &str| described[name].as_str();
        let path = text("path").unwrap_or_default();
        let flat = text("flatPath").unwrap_or(path);
        let mut templates = vec![Template::new(&format!("{base}{flat}"), &format!("{base}{path}"))];
        if let Some(upload) = described["mediaUpload"]["protocols"]["simple"]["path"].as_str() {
            templates.push(Template::new(upload, upload));
        }
        if described["useMediaDownloadService"] == true {
            let download = format!("/download{base}{path}");
            templates.push(Template::new(&download, &download));
        }
        Self { id: text("id").unwrap_or_default(), verb: text("httpMethod").unwrap_or_default(), described, templates }
    }
}
