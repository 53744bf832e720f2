//! From what a user wrote to lenses: checked whole, every slip named with its place.

use std::fmt;

use regex_syntax::ParserBuilder;
use spec::guards::{Direction, ENTITIES, GuardAction, GuardRule, GuardsConfig, Placeholders, RedactConfig};

use crate::MAX_HELD;
use crate::automaton::Automaton;
use crate::lens::{Given, Kind, Lens, Treatment, built_in, may_come_back};
use crate::preset;

/// A pattern may be this long: two bytes beyond a match are looked at, and a placeholder's first one may be held too.
const MAX_PATTERN: usize = MAX_HELD - 4;

/// Names of the rules that limits are.
const REQUEST_LIMIT: &str = "max_request_text";
const ANSWER_LIMIT: &str = "max_answer_text";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From `guards` on.
    pub field: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

/// What is looked for in both directions.
#[derive(Debug)]
pub struct Guards {
    pub request: Lens,
    pub answer: Lens,
}

impl Guards {
    /// Everything that is wrong is named at once.
    pub fn compile(config: &GuardsConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems(Vec::new());
        if let Some(redact) = &config.redact {
            check_redaction(redact, &mut problems);
        }
        for (at, rule) in config.rules.iter().enumerate() {
            check_rule(&format!("guards.rules[{at}]"), rule, &config.rules[..at], &mut problems);
        }
        for (name, limit) in [(REQUEST_LIMIT, config.max_request_text), (ANSWER_LIMIT, config.max_answer_text)] {
            if limit == Some(0) {
                problems.add(format!("guards.{name}"), "0 would let nothing pass; leave it out for no limit");
            }
        }
        if built_in().is_none() {
            problems.add("guards", "the patterns that are built in can't be compiled");
        }
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        let mut lens = |direction| {
            let lens = Draft::of(config, direction).into_lens(direction);
            lens.map_err(|text| problems.add("guards", text)).ok()
        };
        match (lens(Direction::Request), lens(Direction::Answer)) {
            (Some(request), Some(answer)) => Ok(Self { request, answer }),
            _ => Err(problems.0),
        }
    }

    pub const fn lens(&self, direction: Direction) -> &Lens {
        match direction {
            Direction::Request => &self.request,
            Direction::Answer => &self.answer,
        }
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { field: field.into(), text: text.into() });
    }
}

fn check_redaction(redact: &RedactConfig, problems: &mut Problems) {
    check_entities("guards.redact.entities", &redact.entities, problems);
    check_directions("guards.redact.in", &redact.directions, problems);
    for (name, pattern) in &redact.patterns {
        let field = format!("guards.redact.patterns.{name}");
        let is_name = name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_uppercase());
        if !is_name || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
            problems.add(&field, "a name has capital letters, digits and _, 32 at most, as in EMPLOYEE_ID");
        }
        if ENTITIES.contains(&name.as_str()) {
            problems.add(&field, "this name is built in");
        }
        check_pattern(&field, pattern, problems);
    }
}

fn check_rule(field: &str, rule: &GuardRule, before: &[GuardRule], problems: &mut Problems) {
    let is_sign = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if rule.name.is_empty() || rule.name.len() > 40 || !rule.name.bytes().all(is_sign) {
        problems.add(format!("{field}.name"), "a name has small letters, digits and -, 40 at most");
    }
    if before.iter().any(|other| other.name == rule.name) {
        problems.add(format!("{field}.name"), format!("there is a rule {} already", rule.name));
    }
    let said = [!rule.words.is_empty(), !rule.patterns.is_empty(), rule.preset.is_some(), !rule.entities.is_empty()];
    if said.into_iter().filter(|is_said| *is_said).count() != 1 {
        problems.add(field, "exactly one of words, patterns, preset and entities is needed");
    }
    check_directions(&format!("{field}.in"), &rule.directions, problems);
    check_entities(&format!("{field}.entities"), &rule.entities, problems);
    for (at, pattern) in rule.patterns.iter().enumerate() {
        check_pattern(&format!("{field}.patterns[{at}]"), pattern, problems);
    }
    for (at, word) in rule.words.iter().enumerate() {
        if word.trim().is_empty() || word.len() > MAX_PATTERN {
            problems.add(format!("{field}.words[{at}]"), format!("a word has 1 to {MAX_PATTERN} bytes"));
        }
    }
}

fn check_directions(field: &str, directions: &[Direction], problems: &mut Problems) {
    if directions.is_empty() {
        problems.add(field, "name request, answer or both");
    }
}

fn check_entities(field: &str, entities: &[String], problems: &mut Problems) {
    for (at, name) in entities.iter().enumerate().filter(|(_, name)| !ENTITIES.contains(&name.as_str())) {
        problems.add(format!("{field}[{at}]"), format!("there is no entity {name}; known are {}", ENTITIES.join(", ")));
    }
}

fn check_pattern(field: &str, pattern: &str, problems: &mut Problems) {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
    let properties = match &parsed {
        Ok(hir) => hir.properties(),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            return problems.add(field, format!("not a pattern: {line} (a letter beyond ASCII is written (?u:é))"));
        }
    };
    if !properties.look_set().is_empty() {
        problems.add(field, "^, $ and \\b are not needed: a pattern begins and ends where words do");
    }
    match (properties.minimum_len(), properties.maximum_len()) {
        (Some(1..), Some(longest)) if longest <= MAX_PATTERN => {}
        (_, None) => problems.add(
            field,
            format!("it has no bound: write {{0,40}} for * and {{1,40}} for +, {MAX_PATTERN} bytes at most in all"),
        ),
        (_, Some(longest)) if longest > MAX_PATTERN => {
            problems.add(field, format!("it can match {longest} bytes; {MAX_PATTERN} are the most"));
        }
        _ => problems.add(field, "it matches nothing at all"),
    }
}

/// A lens under way.
#[derive(Default)]
struct Draft<'a> {
    treatments: Vec<Treatment>,
    entities: Vec<(&'a str, usize)>,
    given: Vec<Given>,
    limit: Option<(u64, usize)>,
}

impl<'a> Draft<'a> {
    fn of(config: &'a GuardsConfig, direction: Direction) -> Self {
        let mut draft = Self::default();
        // The first treatment of an entity counts: a rule about one goes before its redaction.
        for rule in config.rules.iter().filter(|rule| rule.directions.contains(&direction)) {
            draft.add_rule(rule);
        }
        if let Some(redact) = config.redact.as_ref().filter(|redact| redact.directions.contains(&direction)) {
            draft.add_redaction(redact, direction);
        }
        draft.add_limit(config, direction);
        draft
    }

    fn treat(&mut self, kind: Kind, name: &str, action: GuardAction, is_reversible: bool) -> usize {
        let placeholder = format!("<{}>", name.to_ascii_uppercase().replace('-', "_"));
        self.treatments.push(Treatment { kind, name: name.to_owned(), action, placeholder, is_reversible });
        self.treatments.len() - 1
    }

    fn add_rule(&mut self, rule: &'a GuardRule) {
        let treatment = self.treat(Kind::Rule, &rule.name, rule.action, false);
        self.entities.extend(rule.entities.iter().map(|entity| (entity.as_str(), treatment)));
        let words = rule.words.iter().map(|word| pattern_of(word));
        let presets = rule.preset.into_iter().flat_map(preset::patterns).map(|pattern| (*pattern).to_owned());
        let patterns = words.chain(rule.patterns.iter().cloned()).chain(presets);
        self.given.extend(patterns.map(|pattern| Given { pattern, treatment }));
    }

    fn add_redaction(&mut self, redact: &'a RedactConfig, direction: Direction) {
        // An answer's own values have nobody to come back to.
        let placeholders = match direction {
            Direction::Request => redact.placeholders,
            Direction::Answer => Placeholders::OneWay,
        };
        let all = ENTITIES
            .iter()
            .copied()
            .filter(|name| redact.entities.is_empty() || redact.entities.iter().any(|wanted| wanted == name));
        for name in all {
            let treatment = self.treat(Kind::Entity, name, GuardAction::Redact, may_come_back(name, placeholders));
            self.entities.push((name, treatment));
        }
        for (name, pattern) in &redact.patterns {
            let is_reversible = placeholders == Placeholders::Reversible;
            let treatment = self.treat(Kind::Entity, name, GuardAction::Redact, is_reversible);
            self.given.push(Given { pattern: pattern.clone(), treatment });
        }
    }

    fn add_limit(&mut self, config: &GuardsConfig, direction: Direction) {
        let (name, limit) = match direction {
            Direction::Request => (REQUEST_LIMIT, config.max_request_text),
            Direction::Answer => (ANSWER_LIMIT, config.max_answer_text),
        };
        self.limit = limit.map(|limit| (limit, self.treat(Kind::Rule, name, GuardAction::Block, false)));
    }

    fn into_lens(self, direction: Direction) -> Result<Lens, String> {
        let patterns: Vec<&str> = self.given.iter().map(|given| given.pattern.as_str()).collect();
        let given = if patterns.is_empty() { None } else { Some(Automaton::new(&patterns)) };
        let given = given.transpose().map_err(|error| format!("words and patterns are too much together: {error}"))?;
        let treatments = self.given.iter().map(|given| given.treatment).collect();
        let mut lens = Lens::new(direction, self.treatments, &self.entities, given, treatments);
        lens.limit = self.limit;
        Ok(lens)
    }
}

/// A word in upper and lower case; blanks in it are any white space.
fn pattern_of(word: &str) -> String {
    let mut pattern = "(?i)".to_owned();
    for sign in word.trim().chars() {
        match sign {
            sign if sign.is_whitespace() => pattern.push_str("\\s"),
            sign if sign.is_ascii() => pattern.push_str(&regex_syntax::escape(&sign.to_string())),
            sign => pattern.push_str(&format!("(?iu:{sign})")),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::DETECTORS;

    #[test]
    fn what_is_built_in_is_bounded_as_what_is_given_has_to_be() {
        let mut problems = Problems(Vec::new());
        let presets = [
            spec::guards::GuardPreset::PromptInjection,
            spec::guards::GuardPreset::Sql,
            spec::guards::GuardPreset::Secrets,
        ];
        let presets = presets.into_iter().flat_map(|preset| preset::patterns(preset).iter().copied());
        for pattern in DETECTORS.iter().map(|detector| detector.pattern).chain(presets) {
            check_pattern(pattern, pattern, &mut problems);
        }
        assert_eq!(problems.0, []);
        assert!(built_in().is_some());
    }
}
