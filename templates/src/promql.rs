//! The names in a PromQL expression: enough of its grammar for the contract tests, no more.

/// What an expression speaks of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub metrics: Vec<String>,
    /// Of matchers and of `by`.
    pub labels: Vec<String>,
    /// `label="value"` and `label=~"a|b"`.
    pub matches: Vec<(String, String)>,
}

const WORDS: [&str; 11] =
    ["by", "without", "on", "ignoring", "and", "or", "unless", "bool", "group_left", "group_right", "offset"];
const LABEL_LISTS: [&str; 4] = ["by", "without", "on", "ignoring"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Takes an expression apart.
pub fn names(expression: &str) -> Names {
    let tokens = tokens(expression);
    let mut names = Names::default();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if LABEL_LISTS.contains(&word.as_str()) => at = list(&tokens, at + 1, ')', &mut names),
            Token::Sign('{') => at = list(&tokens, at, '}', &mut names),
            // Durations: nothing in brackets is a name.
            Token::Sign('[') => at += tokens[at..].iter().position(|token| *token == Token::Sign(']')).unwrap_or(0),
            Token::Word(word) if is_metric(word, tokens.get(at + 1)) => names.metrics.push(word.clone()),
            _ => {}
        }
        at += 1;
    }
    names
}

fn is_metric(word: &str, next: Option<&Token>) -> bool {
    let is_call = next == Some(&Token::Sign('(')) || matches!(next, Some(Token::Word(word)) if word == "by");
    !is_call && !WORDS.contains(&word) && !word.as_bytes()[0].is_ascii_digit()
}

/// Labels up to a closing sign; answers where that stands.
fn list(tokens: &[Token], from: usize, end: char, names: &mut Names) -> usize {
    let mut at = from;
    while at < tokens.len() && tokens[at] != Token::Sign(end) {
        match &tokens[at] {
            Token::Word(label) => names.labels.push(label.clone()),
            Token::Text(value) => {
                names.matches.extend(names.labels.last().map(|label| (label.clone(), value.clone())));
            }
            Token::Sign(_) => {}
        }
        at += 1;
    }
    at
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
        let end = match first {
            '"' => 2 + rest[1..].find('"').unwrap_or(rest.len() - 2),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let text = &rest[..end];
        match first {
            '"' => all.push(Token::Text(text.trim_matches('"').to_owned())),
            c if is_word(c) => all.push(Token::Word(text.to_owned())),
            c if c.is_whitespace() => {}
            c => all.push(Token::Sign(c)),
        }
        rest = &rest[end..];
    }
    all
}

#[test]
fn an_expression_is_taken_apart() {
    let found = names(
        "sum by (a, le) (rate(x_bucket{b=~\"c|d\", e=\"f\"}[5m])) / vllm:y > 0.5 and on () changes(z[3h]) == z offset 3h",
    );
    assert_eq!(found.metrics, ["x_bucket", "vllm:y", "z", "z"]);
    assert_eq!(found.labels, ["a", "le", "b", "e"]);
    let matches = [("b".to_owned(), "c|d".to_owned()), ("e".to_owned(), "f".to_owned())];
    assert_eq!(found.matches, matches);
}
