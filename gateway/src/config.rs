//! Everything that is read from files, checked whole: the configuration, the keys, the upstreams made from them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guards::Guards;
use reqwest::Url;
use spec::amount::Span;
use spec::id::Variant;
use spec::route::{GatewayConfig, Limits, VariantConfig};

use crate::cache::AnswerCache;
use crate::keys::{Keys, read_authorization};
use crate::pick::Configured;
use crate::upstream::Upstream;
use crate::way::SPARE;

/// Bodies are held in memory to be checked and, on a fallback, sent again.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// What is in force; swapped as one.
#[derive(Debug)]
pub struct Settings {
    pub config: GatewayConfig,
    pub api_keys: Keys,
    pub admin_token: Keys,
    /// None is empty.
    pub upstreams: BTreeMap<Variant, Vec<Arc<Upstream>>>,
    pub spare: Vec<Arc<Upstream>>,
    pub configured: Configured,
    /// Compiled once; None: nothing is looked for.
    pub guards: Option<Arc<Guards>>,
    /// Begun anew with each reload.
    pub cache: Option<AnswerCache>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read the configuration file {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {place}{source}", path.display())]
    Form { path: PathBuf, place: String, source: serde_json::Error },
    #[error("{}: {}", path.display(), problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

impl Settings {
    /// Reads and checks all files. `before` is what is in force: its connections are kept where nothing about them
    /// changed, and its addresses can't change while the process lives.
    pub fn load(path: &Path, before: Option<&Self>) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = parse(path, &bytes)?;
        let mut problems = Problems(Vec::new());
        check_addresses(&config, before.map(|before| &before.config), &mut problems);
        check_limits(&config.limits, &mut problems);
        let api_keys = problems.keep("api_keys_file", Keys::read(&config.api_keys_file));
        let admin_token = problems.keep("admin_token_file", Keys::read(&config.admin_token_file));
        if let Some(audit) = &config.audit {
            problems.keep("audit.key_file", audit::Keys::read(&audit.key_file));
        }
        let guards = read_guards(&config, &mut problems);
        let configured = Configured::of(config.variants.keys().copied());
        if configured.is_none() {
            problems.add("variants", "at least one of baseline and candidate is needed");
        }
        let mut upstreams = BTreeMap::new();
        for (variant, given) in &config.variants {
            let in_force = before.and_then(|before| before.upstreams.get(variant)).map_or(&[][..], Vec::as_slice);
            let place = Place { label: variant.as_str(), field: format!("variants.{variant}"), in_force };
            if let Some(read) = read_upstreams(&place, given, &config.limits, &mut problems) {
                upstreams.insert(*variant, read);
            }
        }
        let in_force = before.map_or(&[][..], |before| &before.spare);
        let place = Place { label: SPARE, field: SPARE.to_owned(), in_force };
        let spare = config.spare.as_ref();
        let spare = spare.and_then(|given| read_upstreams(&place, given, &config.limits, &mut problems));
        match (api_keys, admin_token, configured) {
            (Some(api_keys), Some(admin_token), Some(configured)) if problems.0.is_empty() => {
                let spare = spare.unwrap_or_default();
                let cache = config.cache.map(AnswerCache::new);
                Ok(Self { config, api_keys, admin_token, upstreams, spare, configured, guards, cache })
            }
            _ => Err(ConfigError::Invalid { path: path.to_owned(), problems: problems.0 }),
        }
    }

    /// What in other settings would change the ground under a rollout: what is compared, and what answers. A variant
    /// that a rollout lacks may come back, since without it nothing is judged.
    pub fn steered_field_changed_in(&self, next: &Self) -> Option<&'static str> {
        let (now, next) = (&self.config.variants, &next.config.variants);
        let lost = [(Variant::Baseline, "variants.baseline"), (Variant::Candidate, "variants.candidate")];
        if let Some((_, field)) = lost.into_iter().find(|(it, _)| now.contains_key(it) && !next.contains_key(it)) {
            return Some(field);
        }
        let (now, next) = (now.get(&Variant::Candidate)?, next.get(&Variant::Candidate)?);
        [
            ("variants.candidate.base_url", now.base_url != next.base_url),
            ("variants.candidate.models", now.models != next.models),
            ("variants.candidate.default_model", now.default_model != next.default_model),
        ]
        .into_iter()
        .find_map(|(field, is_changed)| is_changed.then_some(field))
    }

    /// Whether clients can ask for a model under a name: it is one of those listed, or a variant answers to all.
    pub fn takes_model(&self, name: &str) -> bool {
        let is_taken = |given: &VariantConfig| given.default_model.is_some() || given.models.contains_key(name);
        self.config.variants.values().any(is_taken)
    }

    /// The names under which clients can ask for a model.
    pub fn model_names(&self) -> Vec<String> {
        let names = self.config.variants.values().flat_map(|given| given.models.keys().chain(&given.default_model));
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { field: field.into(), text: text.into() });
    }

    fn keep<T>(&mut self, field: impl Into<String>, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<GatewayConfig, ConfigError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let form = |place, source| ConfigError::Form { path: path.to_owned(), place, source };
    let config = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = error.path().to_string();
        form(if place == "." { String::new() } else { format!("{place}: ") }, error.into_inner())
    })?;
    json.end().map_err(|source| form(String::new(), source))?;
    Ok(config)
}

fn check_addresses(config: &GatewayConfig, before: Option<&GatewayConfig>, problems: &mut Problems) {
    if !config.admin_listen.ip().is_loopback() {
        let text = format!("{} is not a loopback address; the admin API is for this machine only", config.admin_listen);
        problems.add("admin_listen", text);
    }
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        problems.add("admin_listen", format!("{} is taken by listen", config.admin_listen));
    }
    let Some(before) = before else { return };
    if before.audit != config.audit {
        problems.add("audit", "changing it needs a restart");
    }
    let mut check_same = |field: &str, now: SocketAddr, given: SocketAddr| {
        if now != given {
            problems.add(field, format!("changing it from {now} to {given} needs a restart"));
        }
    };
    check_same("listen", before.listen, config.listen);
    check_same("admin_listen", before.admin_listen, config.admin_listen);
}

fn check_limits(limits: &Limits, problems: &mut Problems) {
    if !(1..=MAX_BODY_BYTES).contains(&limits.body_bytes) {
        problems.add("limits.body_bytes", format!("{} is not from 1 to {MAX_BODY_BYTES}", limits.body_bytes));
    }
    if limits.failures_in_a_row == 0 {
        problems.add("limits.failures_in_a_row", "0 is not from 1 on");
    }
    let times = [
        ("limits.connect_timeout", limits.connect_timeout),
        ("limits.first_byte_timeout", limits.first_byte_timeout),
        ("limits.idle_timeout", limits.idle_timeout),
    ];
    for (field, time) in times {
        if !(Span(std::time::Duration::from_millis(1))..=Span::seconds(24 * 3600)).contains(&time) {
            problems.add(field, format!("{time} is not from 1ms to 24h"));
        }
    }
}

fn read_guards(config: &GatewayConfig, problems: &mut Problems) -> Option<Arc<Guards>> {
    match Guards::compile(config.guards.as_ref()?) {
        Ok(guards) => Some(Arc::new(guards)),
        Err(found) => {
            found.into_iter().for_each(|problem| problems.add(problem.field, problem.text));
            None
        }
    }
}

/// Where upstreams stand in the configuration, and those that stood there.
struct Place<'a> {
    label: &'static str,
    field: String,
    in_force: &'a [Arc<Upstream>],
}

fn read_upstreams(
    place: &Place<'_>,
    given: &VariantConfig,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Vec<Arc<Upstream>>> {
    let field = |name: &str| format!("{}.{name}", place.field);
    let before = problems.0.len();
    let base_url = check_url(&field("base_url"), &given.base_url, problems);
    let replicas = given.replicas.iter().map(|url| check_url(&field("replicas"), url, problems));
    let base_urls: Vec<Url> = std::iter::once(base_url).chain(replicas.collect::<Vec<_>>()).flatten().collect();
    for (name, url) in [("ready_url", &given.ready_url), ("metrics_url", &given.metrics_url)] {
        if let Some(url) = url {
            check_url(&field(name), url, problems);
        }
    }
    if let Some(Err(error)) = given.price.map(|price| price.check()) {
        problems.add(format!("{}.{}", field("price"), error.field), error.to_string());
    }
    if given.models.iter().any(|(from, to)| from.is_empty() || to.is_empty()) {
        problems.add(field("models"), "a model name is empty");
    }
    if given.default_model.as_deref() == Some("") {
        problems.add(field("default_model"), "it is empty; leave it out to pass names through");
    }
    let authorization = match &given.key_file {
        Some(path) => Some(problems.keep(field("key_file"), read_authorization(path))?),
        None => None,
    };
    if problems.0.len() > before {
        return None;
    }
    let made = base_urls.iter().map(|base_url| {
        let same = place.in_force.iter().find(|upstream| upstream.is_at(base_url));
        let in_force = same.or(place.in_force.first()).map(Arc::as_ref);
        Upstream::new(place.label, given.clone(), base_url, authorization.clone(), limits, in_force).map(Arc::new)
    });
    problems.keep(field("base_url"), made.collect())
}

fn check_url(field: &str, given: &str, problems: &mut Problems) -> Option<Url> {
    let text = match Url::parse(given) {
        Err(error) => format!("not a URL: {error}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            format!("a URL with http:// or https:// is needed, not {}:", url.scheme())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "a URL must not hold a user or password; put the key into key_file".to_owned()
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "a URL without ? and # is needed".to_owned(),
        Ok(url) => return Some(url),
    };
    problems.add(field, text);
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in [("keys", "k1\nk2\n"), ("token", "t\n"), ("upstream", "u\n"), ("empty", "\n")] {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn good(&self) -> Value {
            json!({
                "listen": "127.0.0.1:8000", "admin_listen": "127.0.0.1:8001",
                "api_keys_file": self.path("keys"), "admin_token_file": self.path("token"), "salt": "s",
                "variants": {
                    "baseline": {"base_url": "https://api.example.com/v1", "key_file": self.path("upstream"), "models": {"gpt": "gpt-4"}},
                    "candidate": {"base_url": "http://127.0.0.1:9/v1", "default_model": "r1"},
                },
                "limits": {"body_bytes": 1000, "connect_timeout": "1s", "first_byte_timeout": "2s", "idle_timeout": "3s"},
            })
        }

        fn load(&self, config: &Value, before: Option<&Settings>) -> Result<Settings, ConfigError> {
            let path = self.path("gateway.json");
            std::fs::write(&path, config.to_string()).unwrap();
            Settings::load(&path, before)
        }
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let files = Files::new();
        let settings = files.load(&files.good(), None).unwrap();
        assert_eq!(settings.configured, Configured::Both);
        assert_eq!(settings.model_names(), ["gpt", "r1"]);
    }

    #[test]
    fn a_bad_field_is_refused_by_name() {
        let files = Files::new();
        for (pointer, bad, hint) in [
            ("/listen", json!("localhost"), "listen: invalid socket address"),
            ("/listen", json!("127.0.0.1:8001"), "admin_listen: 127.0.0.1:8001 is taken by listen"),
            ("/admin_listen", json!("0.0.0.0:8001"), "admin_listen: 0.0.0.0:8001 is not a loopback address"),
            ("/api_keys_file", json!(files.path("absent")), "api_keys_file: can't read"),
            ("/api_keys_file", json!(files.path("empty")), "holds no key"),
            ("/admin_token_file", json!(files.path("absent")), "admin_token_file: can't read"),
            ("/variants", json!({}), "variants: at least one"),
            ("/variants", json!({"canary": {"base_url": "http://h/v1"}}), "unknown variant `canary`"),
            ("/variants/baseline/base_url", json!("api.example.com"), "variants.baseline.base_url: not a URL"),
            ("/variants/baseline/base_url", json!("ftp://h/v1"), "variants.baseline.base_url: a URL with http://"),
            ("/variants/baseline/base_url", json!("http://u:secret@h/v1"), "must not hold a user or password"),
            ("/variants/baseline/base_url", json!("http://h/v1?key=x"), "without ? and #"),
            ("/variants/baseline/key_file", json!(files.path("keys")), "more than one key"),
            ("/variants/baseline/key_file", json!(files.path("empty")), "variants.baseline.key_file: "),
            ("/variants/baseline/models", json!({"": "x"}), "variants.baseline.models: a model name is empty"),
            ("/variants/candidate/default_model", json!(""), "variants.candidate.default_model: it is empty"),
            ("/variants/candidate/ready_url", json!("/ready"), "variants.candidate.ready_url: not a URL"),
            ("/variants/candidate/metrics_url", json!("x:y"), "variants.candidate.metrics_url: a URL with"),
            (
                "/variants/baseline/price",
                json!({"prompt_per_million": 0.15, "completion_per_million": 600_000}),
                "variants.baseline.price.completion_per_million: $600000.00 for a million tokens",
            ),
            ("/variants/baseline/price", json!({"prompt_per_million": 1}), "missing field `completion_per_million`"),
            (
                "/guards",
                json!({"redact": {"entities": ["NAME"]}}),
                "guards.redact.entities[0]: there is no entity NAME",
            ),
            (
                "/guards",
                json!({"redact": {"patterns": {"X": "a+"}}}),
                "guards.redact.patterns.X: it has no bound: write",
            ),
            ("/guards", json!({"rules": [{"name": "a", "action": "block"}]}), "guards.rules[0]: exactly one of words"),
            ("/guards", json!({"rules": [{"name": "a", "action": "stop"}]}), "guards.rules[0].action: unknown variant"),
            ("/machine_hourly", json!("much"), "machine_hourly: \"much\" is not an amount in US dollars"),
            ("/limits/body_bytes", json!(0), "limits.body_bytes: 0 is not"),
            ("/limits/idle_timeout", json!("0"), "limits.idle_timeout: 0s is not"),
            ("/limits/connect_timeout", json!(5), "limits.connect_timeout: invalid type"),
            ("/limits/connect_timeout", json!("soon"), "\"soon\" is not a span of time"),
        ] {
            let mut config = files.good();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[member] = bad.clone();
            let error = files.load(&config, None).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains("gateway.json"), "{pointer} {bad}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let mut config = files.good();
        config["limits"]["idle"] = json!("1s");
        let error = files.load(&config, None).unwrap_err().to_string();
        assert!(error.contains("limits.idle: unknown field `idle`"), "{error}");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let files = Files::new();
        let mut config = files.good();
        config["admin_listen"] = json!("1.2.3.4:1");
        config["variants"]["candidate"]["base_url"] = json!("x");
        let error = files.load(&config, None).unwrap_err().to_string();
        assert!(error.contains("admin_listen") && error.contains("variants.candidate.base_url"), "{error}");
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_place() {
        let files = Files::new();
        std::fs::write(files.path("gateway.json"), "{\n  \"listen\": }").unwrap();
        let error = Settings::load(&files.path("gateway.json"), None).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        let error = Settings::load(&files.path("absent.json"), None).unwrap_err().to_string();
        assert!(error.contains("absent.json"), "{error}");
    }

    #[test]
    fn an_address_can_not_change_while_the_process_lives() {
        let files = Files::new();
        let settings = files.load(&files.good(), None).unwrap();
        let mut config = files.good();
        config["listen"] = json!("127.0.0.1:8002");
        let error = files.load(&config, Some(&settings)).unwrap_err().to_string();
        assert!(error.contains("listen: changing it from 127.0.0.1:8000 to 127.0.0.1:8002 needs a restart"), "{error}");
    }
}
