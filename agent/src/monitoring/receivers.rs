//! Keys of those who are told of alerts, put into Alertmanager's configuration. It goes to a file that nobody but Alertmanager
//! reads: versions before 0.25, which Ubuntu 22.04 has, take no mail password and no PagerDuty key out of a file of its own.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use spec::host_monitoring::HostMonitoring;
use spec::yaml;

use crate::site::Site;

/// By the name of the secret.
pub(super) type Keys = BTreeMap<String, String>;

/// What names a file with a key, and what holds the key itself.
const PLACES: [(&str, &str); 4] = [
    ("api_url_file", "api_url"),
    ("routing_key_file", "routing_key"),
    ("auth_password_file", "auth_password"),
    ("credentials_file", "credentials"),
];

pub(super) fn keys(site: &Site, wanted: &HostMonitoring) -> Result<Keys, String> {
    let read = |name: &spec::id::SecretName| {
        let text = fs::read_to_string(site.secret(name)).map_err(|error| format!("secret {name}: {error}"))?;
        Ok((name.to_string(), text.trim().to_owned()))
    };
    wanted.receiver_keys.keys().map(read).collect()
}

/// The configuration with each key in the place of its file's path.
pub(super) fn with_keys(configuration: &str, keys: &Keys) -> Result<String, String> {
    let mut document: Value = yaml::parse(configuration, "alertmanager.yml").map_err(|error| error.to_string())?;
    fill(&mut document, keys)?;
    yaml::print(&document).map_err(|error| error.to_string())
}

fn fill(value: &mut Value, keys: &Keys) -> Result<(), String> {
    match value {
        Value::Array(all) => all.iter_mut().try_for_each(|one| fill(one, keys)),
        Value::Object(map) => {
            for (of_file, of_key) in PLACES {
                if let Some(path) = map.remove(of_file) {
                    let name = path.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                    let key = keys.get(name).ok_or_else(|| format!("the key of {name} was not brought"))?;
                    map.insert(of_key.to_owned(), key.as_str().into());
                }
            }
            map.values_mut().try_for_each(|one| fill(one, keys))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "
receivers:
- name: page
  slack_configs: [{api_url_file: /etc/x/alerts-slack-url, channel: '#c'}]
  email_configs: [{auth_username: u, auth_password_file: /etc/x/alerts-email-password}]
  webhook_configs: [{url: 'http://h/', http_config: {authorization: {credentials_file: /etc/x/alerts-webhook-token}}}]
";

    #[test]
    fn each_key_stands_where_the_path_of_its_file_stood() {
        let keys = ["alerts-slack-url", "alerts-email-password", "alerts-webhook-token"];
        let keys: Keys = keys.map(|name| (name.to_owned(), format!("k: {name}"))).into();
        let document: Value = yaml::parse(&with_keys(CONFIGURATION, &keys).unwrap(), "filled").unwrap();
        let page = &document["receivers"][0];
        assert_eq!(page["slack_configs"][0]["api_url"], "k: alerts-slack-url");
        assert_eq!(page["email_configs"][0]["auth_password"], "k: alerts-email-password");
        let authorization = &page["webhook_configs"][0]["http_config"]["authorization"];
        assert_eq!(*authorization, serde_json::json!({"credentials": "k: alerts-webhook-token"}));
        assert!(!document.to_string().contains("_file"), "{document}");
    }

    #[test]
    fn a_key_that_was_not_brought_is_named() {
        let error = with_keys(CONFIGURATION, &Keys::new()).unwrap_err();
        assert_eq!(error, "the key of alerts-slack-url was not brought");
    }
}
