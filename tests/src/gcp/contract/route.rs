//! From a verb and a path to the method that a document has there.

use std::collections::BTreeMap;

use reqwest::Url;

use super::document::Method;

/// A path with gaps: `/compute/v1/projects/{project}/zones/{zone}`, `/v1/projects/{projectsId}/serviceAccounts/{id}:enable`.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// Of a path like `v1/{+name}/keys`: the name of the gap that takes slashes too, and what stands around it.
    wide: Option<Wide>,
}

#[derive(Debug)]
enum Segment {
    Text(String),
    /// A gap and what follows it in the same segment.
    Gap(String, String),
}

#[derive(Debug)]
struct Wide {
    before: String,
    name: String,
    after: String,
}

impl Template {
    /// `flat` has one gap a segment; `path` may have a wide one in the place of several.
    pub fn new(flat: &str, path: &str) -> Self {
        let segments = flat.trim_start_matches('/').split('/').map(Segment::new).collect();
        Self { segments, wide: Wide::new(path) }
    }

    /// What stands in the gaps, and how much of the path was no gap.
    fn fit(&self, path: &str) -> Option<(usize, BTreeMap<String, String>)> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if parts.len() != self.segments.len() {
            return None;
        }
        let mut found = BTreeMap::new();
        let mut exact = 0;
        for (segment, part) in self.segments.iter().zip(parts) {
            exact += segment.fit(part, &mut found)?;
        }
        if let Some(wide) = &self.wide {
            found = BTreeMap::from([(wide.name.clone(), wide.fit(path)?)]);
        }
        Some((exact, found))
    }
}

impl Segment {
    fn new(text: &str) -> Self {
        let gap = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        gap.map_or_else(|| Self::Text(text.to_owned()), |(name, rest)| Self::Gap(name.to_owned(), rest.to_owned()))
    }

    /// How many letters of it were no gap: of two templates that fit, the one with more says what is meant.
    fn fit(&self, part: &str, found: &mut BTreeMap<String, String>) -> Option<usize> {
        match self {
            Self::Text(text) => (text == part).then_some(text.len()),
            Self::Gap(name, after) => {
                let value = part.strip_suffix(after.as_str()).filter(|value| !value.is_empty())?;
                found.insert(name.clone(), decoded(value));
                Some(after.len())
            }
        }
    }
}

impl Wide {
    fn new(path: &str) -> Option<Self> {
        let (before, rest) = path.split_once("{+")?;
        let (name, after) = rest.split_once('}')?;
        Some(Self { before: before.to_owned(), name: name.to_owned(), after: after.to_owned() })
    }

    fn fit(&self, path: &str) -> Option<String> {
        path.strip_prefix(&self.before)?.strip_suffix(&self.after).map(decoded)
    }
}

pub(super) fn find<'a>(
    methods: &'a [Method],
    verb: &str,
    path: &str,
) -> Option<(&'a Method, BTreeMap<String, String>)> {
    let called = methods.iter().filter(|method| method.verb == verb);
    let fitting = called.flat_map(|method| {
        let fits = method.templates.iter().filter_map(|template| template.fit(path));
        fits.map(move |(exact, found)| (exact, method, found))
    });
    fitting.max_by_key(|(exact, ..)| *exact).map(|(_, method, found)| (method, found))
}

/// Of a part of a path: `a%2Fb` is `a/b`.
pub(in crate::gcp) fn decoded(part: &str) -> String {
    // As a query's value, in which a plus is a space, unlike here.
    let url = Url::parse(&format!("http://loopback/?{}", part.replace('+', "%2B").replace('&', "%26")));
    let pairs = url.expect("a URL of any query");
    pairs.query_pairs().next().map(|(name, value)| undivided(&name, &value, part)).unwrap_or_default()
}

/// The first `=` of a part divides nothing.
fn undivided(name: &str, value: &str, part: &str) -> String {
    if part.contains('=') { format!("{name}={value}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(flat: &str, path: &str, actual: &str) -> Option<Vec<(String, String)>> {
        Template::new(flat, path).fit(actual).map(|(_, found)| found.into_iter().collect())
    }

    #[test]
    fn gaps_take_one_segment_and_wide_ones_more() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let plain = "/b/{bucket}/o/{object}";
        assert_eq!(gaps(plain, plain, "/b/x/o/a%2Fb"), Some(vec![pair("bucket", "x"), pair("object", "a/b")]));
        assert_eq!(gaps(plain, plain, "/b/x/o/a/b"), None);
        let (flat, wide) = ("/v1/projects/{p}/serviceAccounts/{a}:enable", "/v1/{+name}:enable");
        let name = "projects/p/serviceAccounts/a@b";
        assert_eq!(gaps(flat, wide, &format!("/v1/{name}:enable")), Some(vec![pair("name", name)]));
        assert_eq!(gaps(flat, wide, &format!("/v1/{name}")), None);
    }

    #[test]
    fn parts_of_paths_are_decoded_whatever_stands_in_them() {
        for (part, text) in [("a%2Fb", "a/b"), ("a+b", "a+b"), ("a=b=c", "a=b=c"), ("a%26b&c", "a&b&c"), ("=", "=")] {
            assert_eq!(decoded(part), text, "{part}");
        }
    }
}
