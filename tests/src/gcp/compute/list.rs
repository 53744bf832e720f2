//! Lists, of one place and of all places at once, in pages.

use serde_json::{Map, Value, json};

use super::super::call::{Call, Refusal, Reply, text};
use super::super::catalog;
use super::super::world::World;
use super::filter::Filter;
use super::kind::{LINK, Place, Scope};

/// Things in a scope (`zones/us-central1-a`), as a list of all scopes has them.
pub(super) type Scoped = Vec<(String, Vec<Value>)>;

/// One list. Google leaves `items` out where there are none.
pub(super) fn list(world: &World, call: &Call, single: &str, items: Vec<Value>) -> Result<Reply, Refusal> {
    let (page, next) = page(world, call, passing(call, items)?)?;
    let mut body = head(call, &format!("compute#{single}List"));
    if !page.is_empty() {
        body["items"] = json!(page);
    }
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    Ok(Reply::Json(body))
}

/// One of all scopes: those without anything say so.
pub(super) fn aggregated(
    world: &World,
    call: &Call,
    (collection, single): (&str, &str),
    scoped: Scoped,
) -> Result<Reply, Refusal> {
    let mut all = Vec::new();
    for (scope, items) in &scoped {
        let passing = passing(call, items.clone())?;
        all.extend(passing.into_iter().map(|item| json!({"scope": scope, "item": item})));
    }
    let (page, next) = page(world, call, all)?;
    let mut items = Map::new();
    for (scope, _) in &scoped {
        let within = page.iter().filter(|it| it["scope"] == scope.as_str()).map(|it| it["item"].clone());
        items.insert(scope.clone(), in_scope(collection, scope, within.collect()));
    }
    let mut body = head(call, &format!("compute#{single}AggregatedList"));
    body["items"] = Value::Object(items);
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    Ok(Reply::Json(body))
}

fn in_scope(collection: &str, scope: &str, items: Vec<Value>) -> Value {
    if !items.is_empty() {
        return json!({collection: items});
    }
    json!({"warning": {
        "code": "NO_RESULTS_ON_PAGE", "message": format!("There are no results for scope '{scope}' on this page."),
        "data": [{"key": "scope", "value": scope}],
    }})
}

/// The scopes in which things of a kind can lie, with the paths of their folders.
pub(super) fn scopes(place: &Place, scope: Scope) -> Vec<(String, String)> {
    let names: Vec<String> = match scope {
        Scope::Global => vec!["global".to_owned()],
        Scope::Region => catalog::REGIONS.into_iter().map(|(region, _)| format!("regions/{region}")).collect(),
        Scope::Zone => catalog::zones().map(|zone| format!("zones/{zone}")).collect(),
    };
    names.into_iter().map(|name| (name.clone(), format!("projects/{}/{name}", place.project))).collect()
}

fn head(call: &Call, kind: &str) -> Value {
    let (collection, verb) = call.act();
    let place = format!("projects/{}/{verb}/{collection}", call.path("project"));
    json!({"kind": kind, "id": place, "selfLink": format!("{LINK}{place}")})
}

fn passing(call: &Call, mut items: Vec<Value>) -> Result<Vec<Value>, Refusal> {
    let written = call.query("filter").unwrap_or_default();
    let filter = Filter::read(written).map_err(|why| Refusal::unserved(format!("the filter {written:?}: {why}")))?;
    items.retain(|item| filter.lets(item));
    items.sort_by(|one, other| text(&one["name"]).cmp(text(&other["name"])));
    Ok(items)
}

/// A page of it, and the token of the next.
fn page(world: &World, call: &Call, items: Vec<Value>) -> Result<(Vec<Value>, Option<String>), Refusal> {
    let asked = call.number("maxResults").and_then(|size| usize::try_from(size).ok());
    let size = asked.unwrap_or(usize::MAX).min(world.settings.page).max(1);
    cut(items, call.query("pageToken"), size)
}

/// From where a token says, so many.
pub(in crate::gcp) fn cut(
    items: Vec<Value>,
    token: Option<&str>,
    size: usize,
) -> Result<(Vec<Value>, Option<String>), Refusal> {
    let begin = match token.map(|token| token.strip_prefix("page-").and_then(|begin| begin.parse().ok())) {
        None => 0,
        Some(Some(begin)) => begin,
        Some(None) => return Err(Refusal::invalid("pageToken", &json!(token), "It is none that was given.")),
    };
    let end = begin + size;
    let next = (end < items.len()).then(|| format!("page-{end}"));
    Ok((items.into_iter().skip(begin).take(size).collect(), next))
}
