//! What the user's own settings say, read as Google's own tools read them: project, region, who is asking. Asks nobody.
//!
//! ```text
//! environment -> gcloud's active configuration -> the credentials' own file
//! ```

use std::path::{Path, PathBuf};

use engine::provider::{ErrorKind, ProviderError};
use serde::Deserialize;

/// All calls go there with their paths as at Google's: for tests, and for whoever stands a proxy before Google.
pub const ENDPOINT: &str = "DSCTL_GCP_ENDPOINT";
/// A file with credentials of one's own.
pub const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Of settings that name nobody.
const NOBODY: &str = "user";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub project: Option<String>,
    pub region: Option<String>,
    /// The e-mail address of whoever is asking, as far as the settings tell.
    pub caller: String,
    /// Where Google is, if not at Google.
    pub endpoint: Option<String>,
    /// Whether a file of credentials was named.
    pub has_key_file: bool,
}

/// What a file of credentials tells besides secrets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KeyFile {
    quota_project_id: Option<String>,
    project_id: Option<String>,
    client_email: Option<String>,
}

impl Settings {
    pub fn load() -> Self {
        Self::of(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()), &|path| {
            std::fs::read_to_string(path).ok()
        })
    }

    /// From variables and files; pure.
    fn of(variable: &dyn Fn(&str) -> Option<String>, file: &dyn Fn(&Path) -> Option<String>) -> Self {
        let folder = folder(variable);
        let configuration = folder.as_deref().and_then(|folder| configuration(folder, variable, file));
        let configured = |section: &str, key: &str| configuration.as_deref().and_then(|text| entry(text, section, key));
        let named = variable(KEY_FILE);
        let key_path = named.clone().map(PathBuf::from);
        let key_path = key_path.or_else(|| Some(folder.as_ref()?.join("application_default_credentials.json")));
        let key = key_path.and_then(|path| serde_json::from_str::<KeyFile>(&file(&path)?).ok()).unwrap_or_default();
        let project = variable("GOOGLE_CLOUD_PROJECT")
            .or_else(|| variable("CLOUDSDK_CORE_PROJECT"))
            .or_else(|| configured("core", "project"))
            .or(key.quota_project_id)
            .or(key.project_id);
        let account = if named.is_none() { configured("core", "account") } else { None };
        Self {
            project,
            region: variable("CLOUDSDK_COMPUTE_REGION").or_else(|| configured("compute", "region")),
            caller: key.client_email.or(account).unwrap_or_else(|| NOBODY.to_owned()),
            endpoint: variable(ENDPOINT).map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            has_key_file: named.is_some(),
        }
    }

    pub fn project(&self) -> Result<&str, ProviderError> {
        self.project.as_deref().ok_or_else(|| {
            let message = "none is named by GOOGLE_CLOUD_PROJECT, by gcloud's configuration, or by the credentials";
            let error = ProviderError::new(ErrorKind::Credentials, "project", message);
            error.with_next("gcloud config set project PROJECT")
        })
    }
}

/// Where gcloud keeps what it was told.
fn folder(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let own = variable("CLOUDSDK_CONFIG").map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config/gcloud")))
}

/// The text of the configuration that is in force.
fn configuration(
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
    file: &dyn Fn(&Path) -> Option<String>,
) -> Option<String> {
    let active = variable("CLOUDSDK_ACTIVE_CONFIG_NAME").or_else(|| file(&folder.join("active_config")));
    let active = active.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = active.as_deref().unwrap_or("default");
    file(&folder.join("configurations").join(format!("config_{name}")))
}

/// An entry of an INI file.
fn entry(text: &str, section: &str, key: &str) -> Option<String> {
    let mut here = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            here = name.trim() == section;
        } else if here
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CONFIGURATION: &str =
        "[core]\naccount = ada@example.com\nproject = configured\n[compute]\nregion = us-east4\n";
    const KEY: &str = r#"{"type": "service_account", "project_id": "of-key", "client_email": "ci@of-key.iam"}"#;

    fn settings(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Settings {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let files: BTreeMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        Settings::of(&variable, &|path: &Path| files.get(path).map(|text| (*text).to_owned()))
    }

    #[test]
    fn each_source_comes_before_the_next() {
        let home = ("HOME", "/home/ada");
        let files = [("/home/ada/.config/gcloud/configurations/config_default", CONFIGURATION)];
        let found = settings(&[home], &files);
        assert_eq!((found.project.as_deref(), found.region.as_deref()), (Some("configured"), Some("us-east4")));
        assert_eq!(found.caller, "ada@example.com");
        let found = settings(&[home, ("CLOUDSDK_CORE_PROJECT", "sdk"), ("CLOUDSDK_COMPUTE_REGION", "eu")], &files);
        assert_eq!((found.project.as_deref(), found.region.as_deref()), (Some("sdk"), Some("eu")));
        let found = settings(&[home, ("CLOUDSDK_CORE_PROJECT", "sdk"), ("GOOGLE_CLOUD_PROJECT", "own")], &files);
        assert_eq!(found.project.as_deref(), Some("own"));
        assert_eq!(settings(&[], &[]).project().unwrap_err().next(), Some("gcloud config set project PROJECT"));
    }

    #[test]
    fn another_configuration_may_be_in_force() {
        let files = [("/g/active_config", "work\n"), ("/g/configurations/config_work", CONFIGURATION)];
        assert_eq!(settings(&[("CLOUDSDK_CONFIG", "/g")], &files).project.as_deref(), Some("configured"));
        let other = [("CLOUDSDK_CONFIG", "/g"), ("CLOUDSDK_ACTIVE_CONFIG_NAME", "home")];
        assert_eq!(settings(&other, &files).project, None);
    }

    #[test]
    fn a_key_says_whose_it_is_and_its_project_comes_last() {
        let variables = [(KEY_FILE, "/key.json"), ("HOME", "/h")];
        let found = settings(&variables, &[("/key.json", KEY)]);
        assert_eq!((found.project.as_deref(), found.caller.as_str()), (Some("of-key"), "ci@of-key.iam"));
        assert!(found.has_key_file);
        let configured = ("/h/.config/gcloud/configurations/config_default", CONFIGURATION);
        let found = settings(&variables, &[("/key.json", KEY), configured]);
        assert_eq!(found.project.as_deref(), Some("configured"));
        let user = r#"{"type": "authorized_user", "quota_project_id": "billed"}"#;
        let found = settings(&[("HOME", "/h")], &[("/h/.config/gcloud/application_default_credentials.json", user)]);
        assert_eq!((found.project.as_deref(), found.caller.as_str()), (Some("billed"), "user"));
    }
}
