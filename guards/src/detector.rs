//! What can be found by itself: a pattern of bounded length each, and the check that tells a real one from a look-alike.
//!
//! Patterns begin where a word begins and are tried at one place after the other. What is longer than a pattern may be
//! (a key, a token) is recognised by its head, and its rest is swallowed.

use std::net::IpAddr;
use std::ops::Range;

use crate::checksum::{
    digits, is_german_insured, is_iban, is_luhn, is_social_security, is_spanish_id, is_spanish_insured,
};

/// Words that make what follows them shortly a number of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Birth,
    Phone,
    SocialSecurity,
    Record,
    Insurance,
    Key,
}

impl Context {
    pub const COUNT: usize = 6;

    /// For how many bytes after the words.
    pub const fn reach(self) -> u64 {
        match self {
            Self::Birth => 40,
            Self::Phone | Self::SocialSecurity | Self::Record | Self::Insurance | Self::Key => 30,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finds {
    Entity(&'static str),
    Context(Context),
}

/// What must not stand beside a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// After it whatever there is.
    Open,
    /// More of a word.
    Word,
    /// Nor a digit beyond a point, comma, dash or the like.
    Number,
    /// Nor a digit beyond a point.
    Dotted,
}

/// What follows a head and belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Letters, digits, `_` and `-`.
    Token,
    /// The same and points.
    Dotted,
    /// Letters and digits of base 64.
    Base64,
    /// Up to the line `-----END …-----`, or to what can't stand in a key.
    PrivateKey,
}

#[derive(Debug, Clone, Copy)]
pub struct Detector {
    pub pattern: &'static str,
    pub finds: Finds,
    pub needs: Option<Context>,
    pub edge: Edge,
    pub rest: Option<Rest>,
    /// The part of a match to be taken out; none if it is a look-alike.
    pub part: fn(&str) -> Option<Range<usize>>,
}

const fn entity(name: &'static str, edge: Edge, pattern: &'static str) -> Detector {
    Detector { pattern, finds: Finds::Entity(name), needs: None, edge, rest: None, part: whole }
}

const fn words(context: Context, pattern: &'static str) -> Detector {
    Detector { pattern, finds: Finds::Context(context), needs: None, edge: Edge::Word, rest: None, part: whole }
}

impl Detector {
    const fn after(self, context: Context) -> Self {
        Self { needs: Some(context), ..self }
    }

    const fn with(self, part: fn(&str) -> Option<Range<usize>>) -> Self {
        Self { part, ..self }
    }

    const fn and(self, rest: Rest) -> Self {
        Self { rest: Some(rest), ..self }
    }
}

macro_rules! month {
    () => {
        "(?i:jan(?:uary|uar)?|feb(?:ruary|ruar)?|m(?:ar(?:ch)?|(?u:ä)rz)|apr(?:il)?|ma[iy]|june?|juni?|july?|juli?|aug(?:ust)?|sep(?:t|tember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
    };
}

/// In the order of preference among matches of one length.
pub const DETECTORS: &[Detector] = &[
    entity("EMAIL_ADDRESS", Edge::Open, r"[A-Za-z0-9_\x80-\xff][A-Za-z0-9._%+\x80-\xff-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,34}\.[A-Za-z]{2,18}"),
    entity("CREDIT_CARD", Edge::Number, r"[2-6]\d{3}(?:[ -]?\d){9,15}").with(card),
    entity("IBAN_CODE", Edge::Word, r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,29}").with(iban),
    entity("US_SSN", Edge::Number, r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}").with(social_security),
    entity("US_SSN", Edge::Number, r"\d{9}").after(Context::SocialSecurity).with(social_security),
    entity("IP_ADDRESS", Edge::Dotted, r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}").with(address),
    entity("IP_ADDRESS", Edge::Word, r"(?:[0-9A-Fa-f]{1,4}:){1,7}(?::|[0-9A-Fa-f]{1,4})(?::?[0-9A-Fa-f]{1,4}){0,6}|::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}").with(address),
    entity("URL_CREDENTIALS", Edge::Open, r#"[A-Za-z][A-Za-z0-9+.-]{1,14}://[^\s:/@"'<>\\]{1,32}:[^\s/@"'<>\\]{1,64}@"#).with(user_and_password),
    entity("DATE_OF_BIRTH", Edge::Number, r"\d{1,2}[./-] ?\d{1,2}[./-] ?\d{2}(?:\d{2})?|\d{4}[./-]\d{1,2}[./-]\d{1,2}").after(Context::Birth),
    entity("DATE_OF_BIRTH", Edge::Number, concat!(r"\d{1,2}(?:\.|st|nd|rd|th)? (?:of |de )?", month!(), r"\.?,? (?:de )?\d{4}|", month!(), r"\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}")).after(Context::Birth),
    entity("ES_NIF", Edge::Word, r"\d{8}[ -]?[A-Za-z]").with(spanish_id),
    entity("ES_NIE", Edge::Word, r"[XYZxyz][ -]?\d{7}[ -]?[A-Za-z]").with(spanish_id),
    entity("INSURANCE_NUMBER", Edge::Word, r"[A-Z]\d{9}").with(german_insured),
    entity("INSURANCE_NUMBER", Edge::Number, r"\d{2}[ /-]\d{8}[ /-]\d{2}|\d{2}[ /-]\d{10}").with(spanish_insured),
    entity("INSURANCE_NUMBER", Edge::Word, r"[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d{2}"),
    entity("INSURANCE_NUMBER", Edge::Word, r"(?:[A-Z]{1,4}[ /-]?)?\d{2,12}(?:[ /-]\d{2,8}){0,3}").after(Context::Insurance).with(number),
    entity("MEDICAL_RECORD", Edge::Word, r"(?:[A-Z]{1,4}[/-]?)?\d{2,10}(?:[/-]\d{2,6}){0,2}").after(Context::Record).with(number),
    entity("PHONE_NUMBER", Edge::Number, r"\+[1-9](?:[ ()./-]{0,3}\d){7,14}|00[1-9]\d{0,2}[ /-](?:[ ()./-]{0,2}\d){6,12}"),
    entity("PHONE_NUMBER", Edge::Number, r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"),
    entity("PHONE_NUMBER", Edge::Number, r"\(?0[1-9]\d{1,4}(?:\) ?|[ /-]{1,3})\d{2,8}(?:[ -]\d{1,5}){0,4}").with(number),
    entity("PHONE_NUMBER", Edge::Number, r"[6-9]\d{2} \d{3} \d{3}|[6-9]\d{2} \d{2} \d{2} \d{2}|9\d [1-9]\d{2} \d{2} \d{2}"),
    entity("PHONE_NUMBER", Edge::Number, r"\(?\d(?:[ ()./-]{0,2}\d){6,14}").after(Context::Phone),
    entity("PRIVATE_KEY", Edge::Open, r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY").and(Rest::PrivateKey),
    entity("JWT", Edge::Open, r"eyJ[A-Za-z0-9_-]{12,64}\.eyJ[A-Za-z0-9_-]{4}|eyJ[A-Za-z0-9_-]{80}").and(Rest::Dotted),
    entity("API_KEY", Edge::Open, r"sk-(?:[A-Za-z0-9]{20}|(?:proj|ant|or|svcacct|admin)-[A-Za-z0-9_-]{16})|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}|xox[abeoprs]-[A-Za-z0-9-]{10}|hf_[A-Za-z0-9]{30}|npm_[A-Za-z0-9]{36}").and(Rest::Token),
    entity("API_KEY", Edge::Open, r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16}").and(Rest::Token),
    entity("API_KEY", Edge::Word, r"(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}"),
    entity("API_KEY", Edge::Open, r"[A-Za-z0-9+/_-]{20}").and(Rest::Base64).after(Context::Key).with(key),
    words(Context::Birth, r"(?i:date of birth|birth ?date|birthday|d\.?o\.?b|born|geboren|geburtsdatum|geburtstag|geb|nacid[oa]|naci(?u:ó)|nacimiento|fecha nac)"),
    words(Context::Phone, r"(?i:tel|telephone|phone|phone number|call|cell|mobile|fax|whatsapp|telefon|telefonnummer|handy|handynummer|mobil|anrufen|ruf|tel(?u:é)fono|m(?u:ó)vil|llam[aeo]|llamar|ll(?u:á)m[ae]me)"),
    words(Context::SocialSecurity, r"(?i:ssn|social security)"),
    words(Context::Record, r"(?i:mrn|medical record|patient id|patient no|patient number|chart number|chart no|patientennummer|patienten-id|patientenakte|fallnummer|aktenzeichen|historia cl(?u:í)nica|n(?u:ú)mero de historia|nhc|expediente m(?u:é)dico)"),
    words(Context::Insurance, r"(?i:insurance|member id|member number|policy|subscriber|health plan|versichertennummer|versicherungsnummer|krankenversicherung|krankenversichertennummer|kvnr|p(?u:ó)liza|afiliaci(?u:ó)n|seguridad social|nuss|tarjeta sanitaria|asegurad[oa])"),
    words(Context::Key, r"(?i:api[ _-]?key|apikey|api[ _-]?token|(?:aws_)?secret[ _-]?(?:access[ _-]?)?key|access[ _-]?token|auth[ _-]?token|bearer)"),
];

fn whole(text: &str) -> Option<Range<usize>> {
    Some(0..text.len())
}

fn whole_if(text: &str, is_real: bool) -> Option<Range<usize>> {
    is_real.then_some(0..text.len())
}

fn card(text: &str) -> Option<Range<usize>> {
    // One digit throughout passes Luhn for some digits and lengths, and is nobody's card.
    let is_varied = digits(text).any(|digit| Some(digit) != digits(text).next());
    whole_if(text, is_varied && is_luhn(text))
}

fn iban(text: &str) -> Option<Range<usize>> {
    whole_if(text, is_iban(text))
}

fn social_security(text: &str) -> Option<Range<usize>> {
    whole_if(text, is_social_security(text))
}

fn address(text: &str) -> Option<Range<usize>> {
    whole_if(text, digits(text).next().is_some() && text.parse::<IpAddr>().is_ok())
}

fn spanish_id(text: &str) -> Option<Range<usize>> {
    whole_if(text, is_spanish_id(text))
}

fn german_insured(text: &str) -> Option<Range<usize>> {
    whole_if(text, is_german_insured(text))
}

fn spanish_insured(text: &str) -> Option<Range<usize>> {
    whole_if(text, is_spanish_insured(text))
}

/// Five digits at least: fewer are a room, a floor, a year.
fn number(text: &str) -> Option<Range<usize>> {
    whole_if(text, digits(text).count() >= 5)
}

/// Letters alone are a word, such as a long one with dashes.
fn key(text: &str) -> Option<Range<usize>> {
    whole_if(text, digits(text).next().is_some())
}

fn user_and_password(text: &str) -> Option<Range<usize>> {
    text.find("://").map(|at| at + 3..text.len() - 1)
}
