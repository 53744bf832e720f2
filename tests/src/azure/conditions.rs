//! Conditions of role assignments, as far as they are about blobs: actions and paths, joined by AND, OR and `!`.
//!
//! ```text
//! (!(ActionMatches{'…/blobs/write'})) OR (@Resource[…/blobs:path] StringLike 'host/*')
//! ```

use super::ask::Refusal;

/// What is to be done with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    /// `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write`.
    pub action: &'a str,
    pub container: &'a str,
    pub path: &'a str,
}

/// Whether a condition holds for a deed; refused if it is no condition.
pub(super) fn holds(condition: &str, deed: Deed<'_>) -> Result<bool, Refusal> {
    let mut reader = Reader { rest: condition.trim(), deed };
    let value = reader.any()?;
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.refusal()) }
}

struct Reader<'a> {
    rest: &'a str,
    deed: Deed<'a>,
}

impl<'a> Reader<'a> {
    fn refusal(&self) -> Refusal {
        let message = format!("The condition of the role assignment is not valid at '{}'.", self.rest);
        Refusal::new(400, "InvalidRoleAssignmentCondition", message)
    }

    /// Goes past a word if it comes next.
    fn takes(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let is_next = rest.get(..word.len()).is_some_and(|next| next.eq_ignore_ascii_case(word));
        if is_next {
            self.rest = rest[word.len()..].trim_start();
        }
        is_next
    }

    fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        if self.takes(word) { Ok(()) } else { Err(self.refusal()) }
    }

    fn any(&mut self) -> Result<bool, Refusal> {
        let mut value = self.all()?;
        while self.takes("OR") || self.takes("||") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, Refusal> {
        let mut value = self.one()?;
        while self.takes("AND") || self.takes("&&") {
            value &= self.one()?;
        }
        Ok(value)
    }

    fn one(&mut self) -> Result<bool, Refusal> {
        if self.takes("!") || self.takes("NOT ") {
            return self.one().map(|value| !value);
        }
        if self.takes("(") {
            let value = self.any()?;
            return self.expect(")").map(|()| value);
        }
        if self.takes("ActionMatches{") {
            let action = self.text()?;
            return self.expect("}").map(|()| like(&action, self.deed.action));
        }
        if self.takes("SubOperationMatches{") {
            self.text()?;
            return self.expect("}").map(|()| false);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<bool, Refusal> {
        self.expect("@Resource[")?;
        let (attribute, rest) = self.rest.split_once(']').ok_or_else(|| self.refusal())?;
        self.rest = rest.trim_start();
        let value = if attribute.ends_with("blobs:path") {
            self.deed.path
        } else if attribute.ends_with("containers:name") {
            self.deed.container
        } else {
            return Err(self.refusal());
        };
        for (word, compare) in COMPARISONS {
            if self.takes(word) {
                let wanted = self.text()?;
                return Ok(compare(&wanted, value));
            }
        }
        Err(self.refusal())
    }

    /// `'…'`.
    fn text(&mut self) -> Result<String, Refusal> {
        self.expect("'")?;
        let (text, rest) = self.rest.split_once('\'').ok_or_else(|| self.refusal())?;
        self.rest = rest.trim_start();
        Ok(text.to_owned())
    }
}

type Comparison = (&'static str, fn(&str, &str) -> bool);

/// The longer words first, where one begins with another.
const COMPARISONS: [Comparison; 6] = [
    ("StringNotLike", |pattern, value| !like(pattern, value)),
    ("StringLike", like),
    ("StringStartsWith", |prefix, value| value.starts_with(prefix)),
    ("StringNotEquals", |wanted, value| wanted != value),
    ("StringEqualsIgnoreCase", |wanted, value| wanted.eq_ignore_ascii_case(value)),
    ("StringEquals", |wanted, value| wanted == value),
];

/// `*` is any text, `?` any letter.
fn like(pattern: &str, value: &str) -> bool {
    let (mut letters, mut rest) = (pattern.chars(), value.chars());
    match letters.next() {
        None => value.is_empty(),
        Some('*') => {
            let ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
            ends.into_iter().any(|at| like(letters.as_str(), &value[at..]))
        }
        Some(letter) => {
            let fits = rest.next().is_some_and(|first| letter == '?' || letter == first);
            fits && like(letters.as_str(), rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOBS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs";

    fn may(condition: &str, verb: &str, path: &str) -> bool {
        let action = format!("{BLOBS}/{verb}");
        holds(condition, Deed { action: &action, container: "dsctl", path }).expect("a condition")
    }

    #[test]
    fn a_path_is_asked_for_only_when_the_action_is_meant() {
        let condition = format!(
            "((!(ActionMatches{{'{BLOBS}/write'}}) AND !(ActionMatches{{'{BLOBS}/add/action'}})) OR \
             (@Resource[{BLOBS}:path] StringLike 'host/*')) AND !(ActionMatches{{'{BLOBS}/delete'}})"
        );
        assert!(may(&condition, "read", "secrets/key") && may(&condition, "write", "host/main/status.json"));
        assert!(!may(&condition, "write", "secrets/key") && !may(&condition, "delete", "host/main/status.json"));
    }

    #[test]
    fn patterns_are_whole() {
        assert!(like("a*c?", "abbcd") && like("*", "") && like("é*", "éa"));
        assert!(!like("a", "ab") && !like("a?", "a") && !like("", "a"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "ActionMatches{'a'", "@Resource[x:y] StringLike 'a'", "(ActionMatches{'a'}) nonsense"] {
            let deed = Deed { action: "a", container: "c", path: "p" };
            assert_eq!(
                holds(text, deed).map_err(|refusal| refusal.code),
                Err("InvalidRoleAssignmentCondition".to_owned()),
                "{text}"
            );
        }
    }
}
