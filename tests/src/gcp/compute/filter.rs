//! The parameter `filter` of Compute's lists: <https://cloud.google.com/compute/docs/reference/rest/v1/instances/list>.
//!
//! ```text
//! filter     = all { "OR" all }          all  = one { ["AND"] one }
//! one        = "NOT" one | "(" filter ")" | field operator value
//! operator   = "=" | "!=" | ":" | "eq" | "ne"          the last two take a regular expression
//! ```

use serde_json::Value;

use super::super::contract;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    Compare { field: String, operator: Operator, value: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Has,
    Matches,
    Differs,
}

const OPERATORS: [(&str, Operator); 5] = [
    ("!=", Operator::Unequal),
    ("=", Operator::Equal),
    (":", Operator::Has),
    ("eq", Operator::Matches),
    ("ne", Operator::Differs),
];

impl Filter {
    /// An empty one lets everything through.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut rest = Rest(text);
        rest.skip();
        if rest.0.is_empty() {
            return Ok(Self::All(Vec::new()));
        }
        let filter = any(&mut rest)?;
        if rest.0.is_empty() { Ok(filter) } else { Err(format!("{:?} is not understood", rest.0)) }
    }

    pub fn lets(&self, body: &Value) -> bool {
        match self {
            Self::Any(filters) => filters.iter().any(|filter| filter.lets(body)),
            Self::All(filters) => filters.iter().all(|filter| filter.lets(body)),
            Self::Not(filter) => !filter.lets(body),
            Self::Compare { field, operator, value } => {
                let found = values(body, &field.split('.').collect::<Vec<_>>());
                operator.holds(&found, value)
            }
        }
    }
}

impl Operator {
    fn holds(self, found: &[String], value: &str) -> bool {
        match self {
            Self::Equal => found.iter().any(|it| it == value),
            Self::Unequal => !Self::Equal.holds(found, value),
            Self::Has => found.iter().any(|it| has(it, value)),
            Self::Matches => found.iter().any(|it| contract::fits(value, it).unwrap_or(false)),
            Self::Differs => !Self::Matches.holds(found, value),
        }
    }
}

/// `*` for anything at all, `abc*` for a beginning, else a part.
fn has(text: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(begin) => text.starts_with(begin),
        None => text.to_lowercase().contains(&wanted.to_lowercase()),
    }
}

/// What stands at a path, as text; of lists every item.
fn values(body: &Value, path: &[&str]) -> Vec<String> {
    match (body, path) {
        (Value::Array(list), _) => list.iter().flat_map(|item| values(item, path)).collect(),
        (_, [first, rest @ ..]) => body.get(first).map(|inner| values(inner, rest)).unwrap_or_default(),
        (Value::String(text), []) => vec![text.clone()],
        (Value::Null, []) => Vec::new(),
        (other, []) => vec![other.to_string()],
    }
}

/// What is left to read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self) {
        self.0 = self.0.trim_start();
    }

    /// A word in capitals that stands alone.
    fn takes(&mut self, word: &str) -> bool {
        let Some(after) = self.0.strip_prefix(word) else { return false };
        let stands_alone = word == "(" || word == ")" || after.starts_with([' ', '(']);
        if stands_alone {
            self.0 = after;
            self.skip();
        }
        stands_alone
    }

    /// Up to one of these letters.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let (taken, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn any(rest: &mut Rest<'_>) -> Result<Filter, String> {
    let mut filters = vec![all(rest)?];
    while rest.takes("OR") {
        filters.push(all(rest)?);
    }
    Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::Any(filters) })
}

fn all(rest: &mut Rest<'_>) -> Result<Filter, String> {
    let mut filters = vec![one(rest)?];
    let is_over = |rest: &Rest<'_>| rest.0.is_empty() || rest.0.starts_with(')') || rest.0.starts_with("OR ");
    while rest.takes("AND") || !is_over(rest) {
        filters.push(one(rest)?);
    }
    Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
}

fn one(rest: &mut Rest<'_>) -> Result<Filter, String> {
    if rest.takes("NOT") {
        return Ok(Filter::Not(Box::new(one(rest)?)));
    }
    if rest.takes("(") {
        let inner = any(rest)?;
        return if rest.takes(")") { Ok(inner) } else { Err("a bracket is not closed".to_owned()) };
    }
    compare(rest)
}

fn compare(rest: &mut Rest<'_>) -> Result<Filter, String> {
    let field = rest.until(&[' ', '=', '!', ':', '(', ')']).to_owned();
    rest.skip();
    let operator = OPERATORS.iter().find(|(word, _)| rest.0.starts_with(word));
    let Some((word, operator)) = operator.filter(|_| !field.is_empty()) else {
        return Err(format!("no comparison at {:?}", rest.0));
    };
    rest.0 = &rest.0[word.len()..];
    rest.skip();
    let value = value(rest)?;
    rest.skip();
    Ok(Filter::Compare { field, operator: *operator, value })
}

/// Between quotes, or up to a space or a bracket.
fn value(rest: &mut Rest<'_>) -> Result<String, String> {
    let Some(quote) = rest.0.chars().next().filter(|letter| ['"', '\''].contains(letter)) else {
        let bare = rest.until(&[' ', ')']);
        return if bare.is_empty() { Err("a value is missing".to_owned()) } else { Ok(bare.to_owned()) };
    };
    let (text, after) = rest.0[1..].split_once(quote).ok_or("a quote is not closed")?;
    rest.0 = after;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lets(filter: &str) -> bool {
        let body = json!({"name": "dsctl-a", "status": "RUNNING", "labels": {"dsctl-deployment": "a"}, "sizeGb": "200",
            "deletionProtection": true, "disks": [{"deviceName": "boot"}, {"deviceName": "more"}]});
        Filter::read(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).lets(&body)
    }

    #[test]
    fn comparisons_and_what_joins_them() {
        for filter in [
            "",
            "name=dsctl-a",
            "name = \"dsctl-a\"",
            "(name = \"x\") OR (name = \"dsctl-a\")",
            "labels.dsctl-deployment = a AND status=RUNNING",
            "labels.dsctl-deployment:*",
            "(labels.dsctl-deployment=a) (status!=TERMINATED)",
            "name eq dsctl-.*",
            "name ne other-.*",
            "name:dsctl-*",
            "NOT name=b",
            "deletionProtection=true",
            "disks.deviceName=more",
        ] {
            assert!(lets(filter), "{filter}");
        }
        for filter in [
            "name=dsctl",
            "labels.other:*",
            "name eq dsctl-",
            "name=x OR status=STOPPING",
            "labels.dsctl-deployment=a AND status=STOPPING",
            "NOT (name=dsctl-a OR name=b)",
        ] {
            assert!(!lets(filter), "{filter}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for filter in ["name", "=x", "(name=x", "name=\"x", "name=", "name=x)"] {
            assert!(Filter::read(filter).is_err(), "{filter}");
        }
    }
}
