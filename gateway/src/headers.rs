//! Which headers pass: not those of one connection, not those of one side's identity, not those we answer for.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Headers of one connection: RFC 9110, section 7.6.1.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Request headers that stay here: who the client is and where it comes from, which is not the upstream's to know; what
/// we set ourselves; and `accept-encoding`, since a compressed stream can't be watched.
const REQUEST_ONLY_OURS: [&str; 22] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "cf-connecting-ip",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "openai-organization",
    "openai-project",
    "origin",
    "referer",
    "true-client-ip",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-goog-api-key",
    "x-real-ip",
    "x-session-id",
];

/// Answer headers that stay here: lengths are set anew, cookies are for another origin, and our account with the upstream
/// is not the client's to know.
const ANSWER_ONLY_THEIRS: [&str; 5] =
    ["alt-svc", "content-length", "openai-organization", "openai-project", "set-cookie"];

/// How much of our account is used up.
const ACCOUNT_LIMITS: &str = "x-ratelimit-";

pub static VARIANT: HeaderName = HeaderName::from_static("x-dsctl-variant");
pub static GENERATION: HeaderName = HeaderName::from_static("x-dsctl-generation");
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-dsctl-request-id");
pub static CACHE: HeaderName = HeaderName::from_static("x-dsctl-cache");
pub static SESSION: HeaderName = HeaderName::from_static("x-session-id");

/// The client's headers as an upstream gets them.
pub fn for_upstream(from_client: &HeaderMap) -> HeaderMap {
    let mut passed = without(from_client, &REQUEST_ONLY_OURS);
    passed.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    passed
}

/// An upstream's headers as the client gets them.
pub fn for_client(from_upstream: &HeaderMap) -> HeaderMap {
    let passed = without(from_upstream, &ANSWER_ONLY_THEIRS);
    let is_ours = |name: &HeaderName| name.as_str().starts_with(ACCOUNT_LIMITS);
    passed.iter().filter(|(name, _)| !is_ours(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a body is compressed, though we asked for it not to be.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a body is a stream of server-sent events.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/event-stream"))
}

/// The content type without its parameters.
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split_once(';').map_or(value, |(media_type, _)| media_type).trim())
}

fn without(headers: &HeaderMap, dropped: &[&str]) -> HeaderMap {
    let of_connection: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let is_passed = |name: &HeaderName| {
        let name = name.as_str();
        !HOP_BY_HOP.contains(&name) && !dropped.contains(&name) && !of_connection.iter().any(|other| other == name)
    };
    headers.iter().filter(|(name, _)| is_passed(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn no_identity_and_nothing_of_the_connection_reaches_an_upstream() {
        let passed = for_upstream(&headers(&[
            ("authorization", "Bearer k"),
            ("cookie", "a=b"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("x-real-ip", "10.0.0.7"),
            ("x-forwarded-host", "h"),
            ("x-forwarded-proto", "https"),
            ("cf-connecting-ip", "10.0.0.7"),
            ("true-client-ip", "10.0.0.7"),
            ("origin", "http://h"),
            ("referer", "http://h/p"),
            ("x-session-id", "s"),
            ("x-goog-api-key", "k"),
            ("transfer-encoding", "chunked"),
            ("accept-encoding", "gzip"),
            ("user-agent", "openai"),
            ("traceparent", "00-1"),
        ]));
        assert_eq!(names(&passed), ["accept-encoding", "traceparent", "user-agent"]);
        assert_eq!(passed["accept-encoding"], "identity");
    }

    #[test]
    fn an_answer_keeps_what_describes_it() {
        let given = headers(&[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("content-length", "3"),
            ("set-cookie", "a=b"),
            ("keep-alive", "1"),
            ("x-request-id", "r"),
            ("openai-processing-ms", "12"),
            ("openai-organization", "org"),
            ("openai-project", "p"),
            ("x-ratelimit-limit-requests", "9"),
            ("x-ratelimit-remaining-tokens", "9"),
        ]);
        assert_eq!(names(&for_client(&given)), ["content-type", "openai-processing-ms", "x-request-id"]);
        assert!(is_event_stream(&given) && !is_encoded(&given));
        assert!(is_encoded(&headers(&[("content-encoding", "gzip")])));
    }
}
