//! The values behind a request's placeholders, and their way back into its answer.

use std::collections::HashMap;

/// One request's values; lives as long as its answer.
#[derive(Debug, Clone, Default)]
pub struct Vault {
    numbers: HashMap<(String, String), usize>,
    last: HashMap<String, usize>,
    values: HashMap<String, String>,
    longest: usize,
}

impl Vault {
    /// The same value of the same name has the same placeholder everywhere in a request.
    pub fn placeholder(&mut self, name: &str, value: &str) -> String {
        let key = (name.to_owned(), value.to_owned());
        if let Some(number) = self.numbers.get(&key) {
            return format!("<{name}_{number}>");
        }
        let number = self.last.entry(name.to_owned()).and_modify(|last| *last += 1).or_insert(1);
        let placeholder = format!("<{name}_{number}>");
        self.numbers.insert(key, *number);
        self.longest = self.longest.max(placeholder.len());
        self.values.insert(placeholder.clone(), value.to_owned());
        placeholder
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The placeholder that a text begins with, and its value.
    fn begin(&self, text: &str) -> Option<(usize, &str)> {
        let end = text.bytes().take(self.longest).position(|byte| byte == b'>')? + 1;
        self.values.get(&text[..end]).map(|value| (end, value.as_str()))
    }

    /// Whether a text that begins with `<` may be the start of a placeholder.
    fn may_begin(&self, text: &str) -> bool {
        text.len() < self.longest && self.values.keys().any(|placeholder| placeholder.starts_with(text))
    }
}

/// How a value is written where it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Plain,
    /// Inside a string of a JSON text that is itself a text, such as a tool call's arguments.
    Escaped,
}

impl Writing {
    /// In the member with this key.
    pub fn of(key: &str) -> Self {
        if key == "arguments" { Self::Escaped } else { Self::Plain }
    }
}

/// Puts values back into a text that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Restorer {
    held: String,
}

impl Restorer {
    pub fn push(&mut self, vault: &Vault, writing: Writing, text: &str) -> String {
        self.held.push_str(text);
        self.release(vault, writing, false)
    }

    pub fn finish(&mut self, vault: &Vault, writing: Writing) -> String {
        self.release(vault, writing, true)
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn release(&mut self, vault: &Vault, writing: Writing, is_end: bool) -> String {
        if vault.is_empty() {
            return std::mem::take(&mut self.held);
        }
        let mut out = String::with_capacity(self.held.len());
        let mut rest = self.held.as_str();
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((end, value)) = vault.begin(rest) {
                write(&mut out, writing, value);
                rest = &rest[end..];
            } else if !is_end && vault.may_begin(rest) {
                self.held = rest.to_owned();
                return out;
            } else {
                out.push('<');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        self.held.clear();
        out
    }
}

fn write(out: &mut String, writing: Writing, value: &str) {
    match writing {
        Writing::Plain => out.push_str(value),
        Writing::Escaped => {
            let quoted = serde_json::Value::from(value).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vault() -> Vault {
        let mut vault = Vault::default();
        vault.placeholder("EMAIL_ADDRESS", "a@b.de");
        vault.placeholder("NAME", "say \"hi\"");
        vault
    }

    #[test]
    fn a_value_has_one_placeholder_and_others_stay_as_they_are() {
        let mut vault = vault();
        assert_eq!(vault.placeholder("EMAIL_ADDRESS", "a@b.de"), "<EMAIL_ADDRESS_1>");
        assert_eq!(vault.placeholder("EMAIL_ADDRESS", "c@d.es"), "<EMAIL_ADDRESS_2>");
        let text = "to <EMAIL_ADDRESS_1>, <EMAIL_ADDRESS_9> <<EMAIL_ADDRESS_2>";
        let mut restorer = Restorer::default();
        let back = restorer.push(&vault, Writing::Plain, text) + &restorer.finish(&vault, Writing::Plain);
        assert_eq!(back, "to a@b.de, <EMAIL_ADDRESS_9> <c@d.es");
    }

    #[test]
    fn in_arguments_a_value_is_escaped() {
        let text = r#"{"text":"<NAME_1>"}"#;
        assert_eq!(Restorer::default().push(&vault(), Writing::Escaped, text), r#"{"text":"say \"hi\""}"#);
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(parts in proptest::collection::vec("<|<EMAIL|_ADDRESS_1>|<NAME_1>|é|x", 0..12)) {
            let (vault, whole) = (vault(), parts.concat());
            let mut restorer = Restorer::default();
            let mut out: String = parts.iter().map(|part| restorer.push(&vault, Writing::Plain, part)).collect();
            out += &restorer.finish(&vault, Writing::Plain);
            let mut once = Restorer::default();
            let expected = once.push(&vault, Writing::Plain, &whole) + &once.finish(&vault, Writing::Plain);
            prop_assert_eq!(out, expected);
        }
    }
}
