//! A whole body, request or answer.

use spec::guards::Direction;

use crate::json::{CutTexts, is_binary, is_text, rewrite};
use crate::lens::Lens;
use crate::scan::{Finding, Report, Scanner};
use crate::vault::{Restorer, Vault, Writing};

/// What came of a body.
#[derive(Debug, Default)]
pub struct Screened {
    /// The body as it may pass; none if it may as it is.
    pub changed: Option<String>,
    pub findings: Vec<Finding>,
    pub blocked: Option<usize>,
}

/// Looks at all texts of a request; values that may come back are kept in the vault.
pub fn screen_request(lens: &Lens, json: &str, vault: &mut Vault) -> Screened {
    screen(lens, json, CutTexts::Keep, &mut |_, text, report| {
        Scanner::scan(lens, text, report, Some(&mut *vault));
        std::mem::take(&mut report.text)
    })
}

/// Looks at all texts of an answer, and puts the request's values back.
pub fn screen_answer(lens: &Lens, json: &str, vault: &Vault) -> Screened {
    screen(lens, json, CutTexts::Drop, &mut |key, text, report| {
        Scanner::scan(lens, text, report, None);
        let text = std::mem::take(&mut report.text);
        let mut restorer = Restorer::default();
        let writing = Writing::of(key);
        restorer.push(vault, writing, &text) + &restorer.finish(vault, writing)
    })
}

type Look<'a> = &'a mut dyn FnMut(&str, &str, &mut Report) -> String;

fn screen(lens: &Lens, json: &str, cut: CutTexts, look: Look<'_>) -> Screened {
    debug_assert!(cut == CutTexts::Keep || lens.direction == Direction::Answer);
    let mut report = Report::default();
    let mut length = 0_u64;
    let changed = rewrite(json, cut, &mut |key, text| {
        if report.blocked.is_some() || !is_text(key) || is_binary(text) {
            return None;
        }
        length += text.len() as u64;
        if let Some(limit) = lens.limit_passed(length) {
            report.block(limit);
            return None;
        }
        let passed = look(key, text, &mut report);
        (passed != text).then_some(passed)
    });
    Screened { changed, findings: report.findings, blocked: report.blocked }
}
