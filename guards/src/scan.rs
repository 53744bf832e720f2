//! The scanner: a text in pieces, cut anywhere, to the same text with placeholders.
//!
//! ```text
//! held + piece --next start--> walk the automata --> nothing: on to the next start
//!                                   |--> open at the end of the piece: hold from here on
//!                                   '--> candidates --edges, context, check--> placeholder | flag | block
//! ```
//! What is decided at a place depends on the text up to the end of the longest pattern there and on two bytes beyond,
//! never on where pieces end: so the output is the same however a text is cut, and what is held has a bound.

use std::ops::Range;

use spec::guards::GuardAction;

use crate::automaton::{Candidate, Walk};
use crate::detector::{Context, DETECTORS, Detector, Edge, Finds, Rest};
use crate::lens::Lens;
use crate::vault::Vault;

/// What came of a text so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub text: String,
    pub findings: Vec<Finding>,
    /// The treatment that stopped it. Nothing more comes out then.
    pub blocked: Option<usize>,
}

/// Something was found; a treatment of the lens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub treatment: usize,
}

impl Report {
    /// Stops it for a reason that no text gave.
    pub(crate) fn block(&mut self, treatment: usize) {
        self.findings.push(Finding { treatment });
        self.blocked = Some(treatment);
    }
}

/// Looks at one text.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    held: String,
    /// The last two bytes that passed, the nearest first; zero for what does not count.
    before: [u8; 2],
    /// Bytes that passed.
    passed: u64,
    /// For each context the place up to which it reaches.
    reach: [u64; Context::COUNT],
    swallowing: Option<Swallowing>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone)]
struct Swallowing {
    rest: Rest,
    /// The last bytes of a private key, in which its end is looked for.
    tail: Vec<u8>,
}

/// One call's view.
struct Pass<'a> {
    lens: &'a Lens,
    text: &'a [u8],
    is_last: bool,
    /// What stands before here is no neighbour: an escape, a placeholder.
    fresh: usize,
}

enum Look {
    Nothing,
    /// More text may matter.
    Open,
    Skip(usize),
    Replace {
        part: Range<usize>,
        treatment: usize,
        rest: Option<Rest>,
    },
    Block(usize),
}

impl Scanner {
    /// Takes a piece; what is settled goes into the report.
    pub fn push(&mut self, lens: &Lens, piece: &str, report: &mut Report, vault: Option<&mut Vault>) {
        self.take(lens, piece, report, vault, false);
    }

    /// The text ends here.
    pub fn finish(&mut self, lens: &Lens, report: &mut Report, vault: Option<&mut Vault>) {
        self.take(lens, "", report, vault, true);
    }

    /// A whole text.
    pub fn scan(lens: &Lens, text: &str, report: &mut Report, vault: Option<&mut Vault>) {
        Self::default().take(lens, text, report, vault, true);
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn take(&mut self, lens: &Lens, piece: &str, report: &mut Report, vault: Option<&mut Vault>, is_last: bool) {
        if report.blocked.is_some() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let text = if held.is_empty() {
            piece
        } else {
            held.push_str(piece);
            &held
        };
        let mut pass = Pass { lens, text: text.as_bytes(), is_last, fresh: 0 };
        let end = self.pass(&mut pass, text, report, vault);
        let before = [self.behind(&pass, end, 1), self.behind(&pass, end, 2)];
        self.before = before;
        self.passed += end as u64;
        self.held = text[end..].to_owned();
    }

    /// Goes through a text; gives the place from which on it has to be held.
    fn pass(&mut self, pass: &mut Pass<'_>, text: &str, report: &mut Report, mut vault: Option<&mut Vault>) -> usize {
        let mut kept_from = 0;
        let mut at = 0;
        loop {
            if self.swallowing.is_some() {
                at = self.swallow(pass, at);
                (kept_from, pass.fresh) = (at, at);
                if self.swallowing.is_some() {
                    break;
                }
            }
            at = self.next_start(pass, at);
            if at == text.len() {
                break;
            }
            match self.look(pass, at, report) {
                Look::Nothing => at += 1,
                Look::Open => break,
                Look::Skip(length) => {
                    at += length;
                    pass.fresh = at;
                }
                Look::Replace { part, treatment, rest } => {
                    report.text.push_str(&text[kept_from..part.start]);
                    report.text.push_str(&placeholder(pass.lens, treatment, &text[part.clone()], vault.as_deref_mut()));
                    report.findings.push(Finding { treatment });
                    self.swallowing = rest.map(|rest| Swallowing { rest, tail: Vec::new() });
                    at = part.end;
                    (kept_from, pass.fresh) = (at, at);
                }
                Look::Block(treatment) => {
                    report.block(treatment);
                    return text.len();
                }
            }
        }
        report.text.push_str(&text[kept_from..at]);
        at
    }

    /// The next place where something can begin: a word's first byte, or any byte that is of no word.
    fn next_start(&self, pass: &Pass<'_>, from: usize) -> usize {
        let mut before = self.behind(pass, from, 1);
        for (at, byte) in pass.text.iter().enumerate().skip(from) {
            if pass.lens.starts[usize::from(*byte)] && !(is_word(before) && (is_word(*byte) || *byte >= 0x80)) {
                return at;
            }
            before = *byte;
        }
        pass.text.len()
    }

    fn look(&mut self, pass: &Pass<'_>, at: usize, report: &mut Report) -> Look {
        if pass.text[at] == b'\\' {
            return escape(&pass.text[at..], pass.is_last);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let walk = self.walk(pass, at, &mut candidates);
        let is_near_end = candidates.iter().any(|candidate| candidate.end + 2 > pass.text.len());
        let look = if !pass.is_last && (walk == Walk::Open || is_near_end) {
            Look::Open
        } else if candidates.is_empty() {
            Look::Nothing
        } else {
            candidates.sort_unstable_by_key(|candidate| (std::cmp::Reverse(candidate.end), candidate.pattern));
            self.judge(pass, at, &candidates, report)
        };
        self.candidates = candidates;
        look
    }

    /// Tries what is built in, then what was given: the patterns of the latter count from where the former's end.
    fn walk(&self, pass: &Pass<'_>, at: usize, found: &mut Vec<Candidate>) -> Walk {
        let built_in = pass.lens.built_in.map_or(Walk::Decided, |automaton| automaton.walk(pass.text, at, found));
        let own = found.len();
        // A given word is none inside a word with letters beyond ASCII.
        let is_inside = self.behind(pass, at, 1) >= 0x80 && is_word(pass.text[at]);
        let Some(given) = pass.lens.given.as_ref().filter(|_| !is_inside) else { return built_in };
        let walk = given.walk(pass.text, at, found);
        for candidate in &mut found[own..] {
            candidate.pattern += DETECTORS.len();
        }
        if built_in == Walk::Open { Walk::Open } else { walk }
    }

    /// What blocks wins, then the longest that is real; what is only flagged is counted beside.
    fn judge(&mut self, pass: &Pass<'_>, at: usize, candidates: &[Candidate], report: &mut Report) -> Look {
        let mut choice = None;
        let mut flagged: Vec<usize> = Vec::new();
        for candidate in candidates {
            // A check is dear, and a shorter match can't win any more.
            if choice.is_some() && pass.lens.only_redacts(candidate.pattern) {
                continue;
            }
            let Some((treatment, part, rest)) = self.accept(pass, at, *candidate) else { continue };
            match pass.lens.treatments[treatment].action {
                GuardAction::Block => return Look::Block(treatment),
                GuardAction::Flag if !flagged.contains(&treatment) => flagged.push(treatment),
                GuardAction::Redact if choice.is_none() => choice = Some(Look::Replace { part, treatment, rest }),
                GuardAction::Flag | GuardAction::Redact => {}
            }
        }
        report.findings.extend(flagged.into_iter().map(|treatment| Finding { treatment }));
        choice.unwrap_or(Look::Nothing)
    }

    /// Whether a match is real: its treatment, and the part that is taken out.
    fn accept(&mut self, pass: &Pass<'_>, at: usize, found: Candidate) -> Option<(usize, Range<usize>, Option<Rest>)> {
        let Some(detector) = DETECTORS.get(found.pattern) else {
            let is_whole = !self.is_cut(pass, at..found.end, Edge::Word);
            return is_whole
                .then(|| (pass.lens.given_treatments[found.pattern - DETECTORS.len()], at..found.end, None));
        };
        if self.is_cut(pass, at..found.end, detector.edge) || !self.is_in_context(at, detector) {
            return None;
        }
        if let Finds::Context(context) = detector.finds {
            self.reach[context as usize] = self.passed + found.end as u64 + context.reach();
            return None;
        }
        let treatment = pass.lens.detected[found.pattern]?;
        let text = std::str::from_utf8(&pass.text[at..found.end]).ok()?;
        let part = (detector.part)(text)?;
        Some((treatment, at + part.start..at + part.end, detector.rest))
    }

    fn is_in_context(&self, at: usize, detector: &Detector) -> bool {
        detector.needs.is_none_or(|context| self.passed + (at as u64) < self.reach[context as usize])
    }

    /// Whether a match is a piece of something longer.
    fn is_cut(&self, pass: &Pass<'_>, found: Range<usize>, edge: Edge) -> bool {
        let near = pass.text.get(found.end).copied().unwrap_or_default();
        let far = pass.text.get(found.end + 1).copied().unwrap_or_default();
        let last = pass.text[found.end - 1];
        let runs_on = is_word(last) && (is_word(near) || near >= 0x80);
        let joins = |marks: &[u8], near: u8, far: u8| marks.contains(&near) && far.is_ascii_digit();
        let before = [self.behind(pass, found.start, 1), self.behind(pass, found.start, 2)];
        match edge {
            Edge::Open => false,
            Edge::Word => runs_on,
            Edge::Dotted => runs_on || joins(b".", near, far) || joins(b".", before[0], before[1]),
            Edge::Number => runs_on || joins(b".,-", near, far) || joins(b".,-/:+#", before[0], before[1]),
        }
    }

    fn behind(&self, pass: &Pass<'_>, at: usize, back: usize) -> u8 {
        match at.checked_sub(back) {
            Some(place) if place >= pass.fresh => pass.text[place],
            None if pass.fresh == 0 => self.before.get(back - at - 1).copied().unwrap_or_default(),
            _ => 0,
        }
    }

    /// Steps over what belongs to a head; gives the place where it ends, or where the text does.
    fn swallow(&mut self, pass: &Pass<'_>, from: usize) -> usize {
        let Some(mut swallowing) = self.swallowing.take() else { return from };
        let mut at = from;
        while let Some(length) = swallowing.step(&pass.text[at..]) {
            at += length;
        }
        // An escape may go on behind the end of the piece.
        let is_open = at == pass.text.len() || pass.text[at..] == *b"\\";
        self.swallowing = (is_open && !pass.is_last && !swallowing.is_over()).then_some(swallowing);
        at
    }
}

impl Swallowing {
    /// How many bytes more belong to it; none if the next one does not.
    fn step(&mut self, text: &[u8]) -> Option<usize> {
        if self.is_over() {
            return None;
        }
        let first = *text.first()?;
        let is_token = first.is_ascii_alphanumeric() || b"_-".contains(&first);
        match self.rest {
            Rest::Token => is_token.then_some(1),
            Rest::Dotted => (is_token || first == b'.').then_some(1),
            Rest::Base64 => (is_token || b"+/=".contains(&first)).then_some(1),
            Rest::PrivateKey if first == b'\\' => text.get(1).filter(|next| b"nrt".contains(next)).map(|_| 2),
            Rest::PrivateKey => {
                let belongs = is_token || first.is_ascii_whitespace() || b"+/=:,".contains(&first);
                belongs.then(|| self.note(first))
            }
        }
    }

    fn note(&mut self, byte: u8) -> usize {
        if self.tail.len() == 64 {
            self.tail.remove(0);
        }
        self.tail.push(byte);
        1
    }

    fn is_over(&self) -> bool {
        const END: &[u8] = b"-----END ";
        let Some(start) = self.tail.strip_suffix(b"-----") else { return false };
        start.windows(END.len()).any(|window| window == END)
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// An escape of JSON: texts that are themselves JSON, as a tool call's arguments, must not be cut inside one.
fn escape(text: &[u8], is_last: bool) -> Look {
    let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match text {
        [_] | [_, b'u'] | [_, b'u', _] | [_, b'u', _, _] | [_, b'u', _, _, _]
            if !is_last && is_hex(text.get(2..).unwrap_or_default()) =>
        {
            Look::Open
        }
        [_, b'u', digits @ ..] if digits.len() >= 4 && is_hex(&digits[..4]) => Look::Skip(6),
        [_, second, ..] if second.is_ascii() => Look::Skip(2),
        _ => Look::Skip(1),
    }
}

fn placeholder(lens: &Lens, treatment: usize, value: &str, vault: Option<&mut Vault>) -> String {
    let treatment = &lens.treatments[treatment];
    match vault {
        Some(vault) if treatment.is_reversible => vault.placeholder(&treatment.name, value),
        _ => treatment.placeholder.clone(),
    }
}

#[cfg(test)]
mod tests;
