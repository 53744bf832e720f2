//! The runbooks that come with the program, and those that somebody puts beside them.

use spec::yaml::{self, YamlError};

use crate::runbook::Runbook;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../data/", $name, ".yaml")))),+]
    };
}

const FILES: &[(&str, &str)] = &files![
    "agent-dead",
    "answers-end-early",
    "audit-not-written",
    "baseline-throttled",
    "budget-burning",
    "config-reload-failed",
    "cost-high",
    "daemon-not-ready",
    "data-breach",
    "disk-filling",
    "disk-full",
    "error-ratio-high",
    "fail-over",
    "fallback-in-use",
    "first-token-slow",
    "gateway-down",
    "generation-stuck",
    "gpu-fault",
    "gpu-load",
    "gpu-throttled",
    "host-clock",
    "host-down",
    "host-resources",
    "host-unit-failed",
    "host-went-back",
    "key-leaked",
    "kv-cache-full",
    "lock-held",
    "monitoring-broken",
    "orphan-found",
    "out-of-memory",
    "queue-growing",
    "requests-slow",
    "rollout-held",
    "rollout-rolled-back",
    "routing-off",
    "spot-notice",
    "streams-truncated",
    "weights-corrupt",
];

/// Runbooks by name and by alert.
#[derive(Debug, Clone)]
pub struct Library {
    all: Vec<Runbook>,
}

#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("{file}: {message}")]
    Invalid { file: String, message: String },
    #[error("alert {alert} is answered by both {first} and {second}")]
    AlertTwice { alert: String, first: String, second: String },
    #[error("unknown runbook \"{name}\"{}; known are {known}", did_you_mean(suggestion.as_deref()))]
    Unknown { name: String, suggestion: Option<String>, known: String },
    #[error("no runbook answers alert \"{alert}\"{}; known are {known}", did_you_mean(suggestion.as_deref()))]
    UnknownAlert { alert: String, suggestion: Option<String>, known: String },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

/// The library that comes with the program.
pub fn runbooks() -> Result<Library, LibraryError> {
    Library::parse(FILES)
}

/// One runbook, checked. `file` is what errors call it.
pub fn parse(text: &str, file: &str) -> Result<Runbook, LibraryError> {
    let runbook: Runbook = yaml::parse(text, file)?;
    runbook.validate().map_err(|message| LibraryError::Invalid { file: file.to_owned(), message })?;
    Ok(runbook)
}

impl Library {
    /// With runbooks of one's own, by their file names without the ending: one of the same name takes the place of the program's, and
    /// so does one that answers the same alert, for that alert.
    pub fn with_own(mut self, own: &[(String, String)]) -> Result<Self, LibraryError> {
        let files: Vec<(&str, &str)> = own.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let own = Self::parse(&files)?;
        self.all.retain(|theirs| own.all.iter().all(|ours| ours.name != theirs.name));
        for theirs in &mut self.all {
            theirs.alerts.retain(|alert| own.all.iter().all(|ours| !ours.alerts.contains(alert)));
        }
        self.all.extend(own.all);
        self.all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self)
    }

    /// Reads (name, text) pairs; the name must be the runbook's own.
    fn parse(files: &[(&str, &str)]) -> Result<Self, LibraryError> {
        let mut all: Vec<Runbook> = Vec::new();
        for (name, text) in files {
            let file = format!("{name}.yaml");
            let runbook = parse(text, &file)?;
            if runbook.name != *name {
                let message = format!("name: \"{}\" is not the file's", runbook.name);
                return Err(LibraryError::Invalid { file, message });
            }
            for alert in &runbook.alerts {
                if let Some(first) = all.iter().find(|other| other.alerts.contains(alert)) {
                    let (first, second) = (first.name.clone(), runbook.name);
                    return Err(LibraryError::AlertTwice { alert: alert.clone(), first, second });
                }
            }
            all.push(runbook);
        }
        Ok(Self { all })
    }

    pub fn all(&self) -> &[Runbook] {
        &self.all
    }

    pub fn find(&self, name: &str) -> Result<&Runbook, LibraryError> {
        self.all.iter().find(|runbook| runbook.name == name).ok_or_else(|| {
            let names: Vec<String> = self.all.iter().map(|runbook| runbook.name.clone()).collect();
            let suggestion = yaml::closest(name, &names).map(str::to_owned);
            LibraryError::Unknown { name: name.to_owned(), suggestion, known: names.join(", ") }
        })
    }

    pub fn for_alert(&self, alert: &str) -> Result<&Runbook, LibraryError> {
        self.all.iter().find(|runbook| runbook.alerts.iter().any(|known| known == alert)).ok_or_else(|| {
            let alerts: Vec<String> = self.all.iter().flat_map(|runbook| runbook.alerts.clone()).collect();
            let suggestion = yaml::closest(alert, &alerts).map(str::to_owned);
            LibraryError::UnknownAlert { alert: alert.to_owned(), suggestion, known: alerts.join(", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_come_with_the_program_and_are_found() {
        let library = runbooks().unwrap();
        assert_eq!(library.all().len(), FILES.len());
        for runbook in library.all() {
            assert_eq!(library.find(&runbook.name).unwrap(), runbook);
            for alert in &runbook.alerts {
                assert_eq!(library.for_alert(alert).unwrap(), runbook);
            }
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data")).unwrap();
        let yaml = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".yaml"));
        assert_eq!(yaml.count(), FILES.len(), "a file in data/ is not embedded");
    }

    #[test]
    fn slips_are_refused_with_the_nearest() {
        let library = runbooks().unwrap();
        let error = library.find("gateway-dwon").unwrap_err().to_string();
        assert!(error.contains("did you mean \"gateway-down\"?"), "{error}");
        let error = library.for_alert("DaemonDwn").unwrap_err().to_string();
        assert!(error.contains("did you mean \"DaemonDown\"?"), "{error}");
    }

    #[test]
    fn ones_own_take_the_place_of_those_that_come_with_the_program() {
        let own = |name: &str, alerts: &str| {
            let text = GOOD.replace("name: x", &format!("name: {name}\nalerts: [{alerts}]"));
            vec![(name.to_owned(), text)]
        };
        let count = runbooks().unwrap().all().len();
        let library = runbooks().unwrap().with_own(&own("gateway-down", "GatewayDown")).unwrap();
        assert_eq!((library.all().len(), library.find("gateway-down").unwrap().symptom.as_str()), (count, "s"));
        let library = runbooks().unwrap().with_own(&own("mine", "GatewayDown, PagerSilent")).unwrap();
        assert_eq!(library.for_alert("GatewayDown").unwrap().name, "mine");
        assert_eq!(library.for_alert("PagerSilent").unwrap().name, "mine");
        assert!(library.find("gateway-down").unwrap().alerts.is_empty());
        let error = runbooks().unwrap().with_own(&[("other".to_owned(), GOOD.to_owned())]).unwrap_err().to_string();
        assert!(error.contains("other.yaml") && error.contains("is not the file's"), "{error}");
    }

    const GOOD: &str = "
name: x
symptom: s
meaning: m
call: c
steps:
  - {name: a, ask: q, see: {status: {unit: dsgate, is: [ready]}}, yes: {not_this: w}, no: {cause: b}}
causes:
  - {name: b, meaning: m, remedy: {up: {}}, back: none, verify: {see: {weights: {is: sound}}, within: 5s}}
";

    #[test]
    fn a_bad_runbook_is_refused_with_its_place() {
        assert!(parse(GOOD, "x.yaml").is_ok());
        for (from, to, hint) in [
            ("symptom: s", "symptom: s\nsimptom: s", "unknown key \"simptom\", did you mean \"symptom\"?"),
            ("unit: dsgate", "unit: nginx", "unknown variant `nginx`"),
            ("{cause: b}", "{cause: c}", "steps.a.no: there is no cause \"c\""),
            ("{cause: b}", "{step: a}", "steps.a.no: there is no later step \"a\""),
            ("{cause: b}", "{not_this: w}", "nothing leads to \"b\""),
            ("{cause: b}", "{}", "a branch needs exactly one of: step, cause, not_this"),
            ("{up: {}}", "{up: {}, rollout_abort: {}}", "a remedy needs exactly one of"),
            ("{up: {}}", "{restart: {unit: agent}}", "the agent is started by up"),
            ("back: none,", "", "causes.b: back: every remedy needs a way back"),
            (", verify: {see: {weights: {is: sound}}, within: 5s}", "", "every remedy needs a verification"),
            (
                "remedy: {up: {}}, back: none, verify: {see: {weights: {is: sound}}, within: 5s}",
                "",
                "or by_hand is needed",
            ),
            ("is: [ready]", "is: []", "steps.a.see: status.is: at least one"),
            ("within: 5s", "within: soon", "is not a span of time"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from} is not there");
            let error = parse(&text, "x.yaml").unwrap_err().to_string();
            assert!(error.starts_with("x.yaml") && error.contains(hint), "{to}: {error}");
        }
    }

    #[test]
    fn a_metric_that_does_not_exist_or_is_misread_is_refused() {
        let gauge = "source: daemon, name: 'vllm:kv_cache_usage_perc', read: value, above: 0.9";
        let text = |metric: &str| GOOD.replace("status: {unit: dsgate, is: [ready]}", &format!("metric: {{{metric}}}"));
        assert!(parse(&text(gauge), "x.yaml").is_ok());
        for (from, to, hint) in [
            ("daemon", "gateway", "the gateway has no metric"),
            ("perc", "percent", "the daemon has no metric"),
            ("read: value", "read: growth, window: 5s", "read: vllm:kv_cache_usage_perc is a Gauge"),
            ("above: 0.9", "above: 0.9, labels: {variant: [x]}", "has no label \"variant\""),
            ("above: 0.9", "above: 0.9, window: 5s", "window: needed by all readings but value"),
            ("above: 0.9", "above: 0.9, below: 1", "exactly one of above and below"),
        ] {
            let error = parse(&text(&gauge.replace(from, to)), "x.yaml").unwrap_err().to_string();
            assert!(error.contains(hint), "{to}: {error}");
        }
    }
}
