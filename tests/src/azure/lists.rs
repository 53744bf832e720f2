//! Lists: what a filter leaves of them, page by page.

use serde_json::{Value, json};

use super::ask::{Answer, Asked, Refusal};
use super::world::World;

/// `a eq 'b' and (c eq 'd' or c eq 'e')`: alternatives, all of which must hold, each of pairs of which one must.
pub(super) type Filter = Vec<Vec<(String, String)>>;

/// OData as far as Azure's services take it.
pub(super) fn filter(text: &str) -> Result<Filter, Refusal> {
    text.split(" and ").filter(|part| !part.trim().is_empty()).map(alternatives).collect()
}

fn alternatives(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    text.trim().trim_start_matches('(').trim_end_matches(')').split(" or ").map(pair).collect()
}

fn pair(text: &str) -> Result<(String, String), Refusal> {
    let parsed = text.trim().split_once(" eq ").and_then(|(name, value)| {
        let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.trim().to_owned(), value.replace("''", "'")))
    });
    parsed.ok_or_else(|| {
        let message =
            format!("The filter '{text}' is not supported. Supported are comparisons of a property with 'eq'.");
        Refusal::new(400, "InvalidFilterInQueryString", message)
    })
}

/// Whether each comparison holds, by a value's name.
pub(super) fn holds(filter: &Filter, value: impl Fn(&str) -> Option<String>) -> bool {
    let is_so = |(name, wanted): &(String, String)| value(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    filter.iter().all(|alternatives| alternatives.iter().any(is_so))
}

/// Resources and groups by tag, as `tagName eq 'a' and tagValue eq 'b'`, and by whatever else they are filtered by.
pub(super) fn has_tags(filter: &Filter, tags: &Value, value: impl Fn(&str) -> Option<String>) -> bool {
    let named = |wanted: &str| filter.iter().flatten().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let tag = named("tagName");
    let is_tagged = tag.as_ref().is_none_or(|tag| {
        let found = tags[tag].as_str();
        found.is_some() && named("tagValue").is_none_or(|wanted| found == Some(wanted.as_str()))
    });
    let rest = filter.iter().filter(|pairs| !pairs.iter().any(|(name, _)| name.starts_with("tag")));
    is_tagged && holds(&rest.cloned().collect(), value)
}

/// A page of a list and the way to the next one.
pub(super) fn page(world: &World, asked: &Asked, entries: Vec<Value>) -> Answer {
    let skipped: usize = asked.parameter("$skiptoken").and_then(|token| token.parse().ok()).unwrap_or_default();
    let top = asked.parameter("$top").and_then(|top| top.parse().ok()).unwrap_or(usize::MAX);
    let size = world.settings.page.min(top);
    let total = entries.len();
    let shown: Vec<Value> = entries.into_iter().skip(skipped).take(size).collect();
    let next = skipped + shown.len();
    let mut list = json!({ "value": shown });
    if next < total {
        list["nextLink"] = next_link(world, asked, next).into();
    }
    Answer::json(200, &list)
}

fn next_link(world: &World, asked: &Asked, next: usize) -> String {
    let url = format!("{}{}", world.origin, asked.target);
    let mut url = reqwest::Url::parse(&url).expect("the URL that was asked");
    let pairs = asked.query().into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
    let pairs: Vec<(String, String)> = pairs.collect();
    url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("$skiptoken", &next.to_string());
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_odata() {
        let read = filter("location eq 'eastus' and (armSkuName eq 'A' or armSkuName eq 'B')").expect("a filter");
        let value = |name: &str| Some(if name == "location" { "EastUS" } else { "B" }.to_owned());
        assert!(holds(&read, value));
        assert!(!holds(&filter("armSkuName eq 'C'").expect("a filter"), value));
        assert!(filter("name startswith 'x'").is_err());
    }

    #[test]
    fn tags_are_compared_by_name_and_value() {
        let tags = json!({"dsctl-deployment": "demo"});
        let has = |text: &str| has_tags(&filter(text).expect("a filter"), &tags, |_| None);
        assert!(has("tagName eq 'dsctl-deployment'") && has("tagName eq 'dsctl-deployment' and tagValue eq 'demo'"));
        assert!(!has("tagName eq 'dsctl-deployment' and tagValue eq 'other'") && !has("tagName eq 'other'"));
        assert!(!has("resourceType eq 'Microsoft.Compute/disks'"));
    }
}
