//! The ownership tags that every resource carries from its first moment: by them an interrupted create is told from somebody
//! else's thing of that name, and what nobody knows of any more is found at all.
//!
//! Assignments of roles have no tags, only a description in words: there it says the same.

use std::collections::BTreeMap;

use engine::graph::Address;
use engine::provider::Token;
use serde_json::{Map, Value, json};
use spec::id::DeploymentName;

pub const DEPLOYMENT: &str = "dsctl-deployment";
pub const ADDRESS: &str = "dsctl-address";
pub const TOKEN: &str = "dsctl-token";
pub const LINEAGE: &str = "dsctl-lineage";
/// The caller's name in Entra.
pub const OWNER: &str = "dsctl-owner";
/// On what outlives its deployment for the sake of its records, instead of the others.
pub const KEPT: &str = "dsctl-kept";
/// Days after which the last of the records go by themselves.
pub const KEPT_DAYS: &str = "dsctl-kept-days";
const ALL: [&str; 5] = [DEPLOYMENT, ADDRESS, TOKEN, LINEAGE, OWNER];
/// Without these something is not found again.
const NEEDED: [&str; 4] = [DEPLOYMENT, ADDRESS, TOKEN, LINEAGE];
/// How a description begins.
const WORD: &str = "dsctl";
const LONGEST: usize = 256;

pub type Tags = BTreeMap<String, String>;

/// Whose a resource is.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    pub deployment: &'a DeploymentName,
    pub address: &'a Address,
    pub token: &'a Token,
    pub lineage: &'a str,
    pub owner: &'a str,
}

/// What stands where something is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This very intent's.
    Ours,
    /// Of an earlier intent of the same state, which no state knows of any more: to be taken over.
    Earlier,
    Foreign,
}

impl Mark<'_> {
    pub fn tags(&self) -> Tags {
        let pairs = [
            (DEPLOYMENT, self.deployment.to_string()),
            (ADDRESS, self.address.to_string()),
            (TOKEN, self.token.0.clone()),
            (LINEAGE, self.lineage.to_owned()),
            (OWNER, self.owner.chars().take(LONGEST).collect()),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    pub fn whose(&self, tags: &Tags) -> Whose {
        let is = |key: &str, value: &str| tags.get(key).is_some_and(|found| found == value);
        let same_state = is(LINEAGE, self.lineage) && is(ADDRESS, self.address.as_str());
        match (same_state, is(TOKEN, &self.token.0)) {
            (true, true) => Whose::Ours,
            (true, false) => Whose::Earlier,
            (false, _) => Whose::Foreign,
        }
    }
}

/// Of something as Azure shows it.
pub fn of(thing: &Value) -> Tags {
    let tags = thing.get("tags").and_then(Value::as_object);
    tags.into_iter().flatten().filter_map(|(key, value)| Some((as_ours(key), value.as_str()?.to_owned()))).collect()
}

/// Names of tags have no case to Azure; ours are small, others' stay as they are.
fn as_ours(key: &str) -> String {
    let small = key.to_ascii_lowercase();
    if small.starts_with("dsctl-") { small } else { key.to_owned() }
}

pub fn is_marked(tags: &Tags) -> bool {
    NEEDED.iter().all(|key| tags.contains_key(*key))
}

pub fn is_kept(tags: &Tags) -> bool {
    tags.contains_key(KEPT)
}

/// Ours as they are always made, over what somebody else put beside them. The token is that of the intent that made it.
pub fn mended(seen: &Tags, mark: &Mark<'_>) -> Tags {
    let mut tags = seen.clone();
    let kept: Tags =
        [TOKEN, OWNER].iter().filter_map(|key| Some(((*key).to_owned(), seen.get(*key)?.clone()))).collect();
    tags.extend(mark.tags());
    tags.extend(kept);
    tags
}

/// In place of ours on what is kept for its records.
pub fn kept(seen: &Tags, deployment: &DeploymentName, days: u32) -> Tags {
    let others = seen.iter().filter(|(key, _)| !ALL.contains(&key.as_str()));
    let kept = [(KEPT, deployment.to_string()), (KEPT_DAYS, days.to_string())];
    let kept = kept.map(|(key, value)| (key.to_owned(), value));
    others.map(|(key, value)| (key.clone(), value.clone())).chain(kept).collect()
}

/// As metadata of a container, whose names are identifiers and whose values are what a header takes.
pub fn to_metadata(tags: &Tags) -> Value {
    let plain = |value: &str| value.replace(|mark: char| !mark.is_ascii_graphic(), "_");
    Value::Object(tags.iter().map(|(key, value)| (key.replace('-', "_"), json!(plain(value)))).collect())
}

pub fn from_metadata(metadata: &Map<String, Value>) -> Tags {
    let pair = |(key, value): (&String, &Value)| {
        Some((key.to_ascii_lowercase().replace('_', "-"), value.as_str()?.to_owned()))
    };
    metadata.iter().filter_map(pair).collect()
}

/// In words, as the description of an assignment.
pub fn to_description(tags: &Tags) -> String {
    let plain = |value: &str| value.replace(char::is_whitespace, "_");
    let words = tags.iter().map(|(key, value)| format!("{}={}", key.trim_start_matches("dsctl-"), plain(value)));
    std::iter::once(WORD.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Nothing where a description is not of ours.
pub fn from_description(text: &str) -> Tags {
    let mut words = text.split(' ');
    if words.next() != Some(WORD) {
        return Tags::new();
    }
    words
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| (format!("dsctl-{key}"), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mark<T>(check: impl FnOnce(&Mark<'_>) -> T) -> T {
        let (deployment, address) = ("default".parse().unwrap(), Address::new("group", "main"));
        let token = Token("feed".to_owned());
        let mark = Mark { deployment: &deployment, address: &address, token: &token, lineage: "beef", owner: "ada" };
        check(&mark)
    }

    #[test]
    fn what_stands_there_is_this_intents_an_earlier_ones_or_somebody_elses() {
        with_mark(|mark| {
            let ours = mark.tags();
            assert_eq!(mark.whose(&ours), Whose::Ours);
            let with = |key: &str, value: &str| {
                let mut tags = ours.clone();
                tags.insert(key.to_owned(), value.to_owned());
                mark.whose(&tags)
            };
            assert_eq!(with(TOKEN, "other"), Whose::Earlier);
            assert_eq!(with(LINEAGE, "other"), Whose::Foreign);
            assert_eq!(with(ADDRESS, "group.other"), Whose::Foreign);
            assert_eq!(mark.whose(&Tags::new()), Whose::Foreign);
        });
    }

    #[test]
    fn tags_are_read_as_they_were_made_whatever_their_case() {
        with_mark(|mark| {
            let mut shown = serde_json::to_value(mark.tags()).unwrap();
            shown["Cost-Centre"] = json!("7");
            let token = shown.as_object_mut().unwrap().remove(TOKEN).unwrap();
            shown["Dsctl-Token"] = token;
            let seen = of(&json!({"tags": shown}));
            assert_eq!(mark.whose(&seen), Whose::Ours);
            assert!(is_marked(&seen) && seen.contains_key("Cost-Centre"));
            assert!(of(&json!({})).is_empty() && of(&json!({"tags": null})).is_empty());
        });
    }

    #[test]
    fn a_mended_thing_keeps_its_token_and_what_others_put_on_it() {
        with_mark(|mark| {
            let seen: Tags = [(TOKEN, "older"), ("cost-centre", "7")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let tags = mended(&seen, mark);
            assert_eq!((tags[TOKEN].as_str(), tags["cost-centre"].as_str()), ("older", "7"));
            assert!(is_marked(&tags));
        });
    }

    #[test]
    fn what_is_kept_is_nobodys_any_more() {
        with_mark(|mark| {
            let kept = kept(&mark.tags(), mark.deployment, 2192);
            assert!(is_kept(&kept) && !kept.contains_key(DEPLOYMENT));
            assert_eq!(kept[KEPT_DAYS], "2192");
        });
    }

    #[test]
    fn metadata_and_descriptions_say_the_same() {
        with_mark(|mark| {
            let tags = mark.tags();
            let metadata = to_metadata(&tags);
            assert_eq!(metadata["dsctl_token"], "feed");
            assert_eq!(from_metadata(metadata.as_object().unwrap()), tags);
            let text = to_description(&tags);
            assert_eq!(text, "dsctl address=group.main deployment=default lineage=beef owner=ada token=feed");
            assert_eq!(from_description(&text), tags);
            assert!(from_description("reads blobs for token=x").is_empty());
        });
    }
}
