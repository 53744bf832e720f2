//! Uploads: `multipart/related`, what is told of the content before the content (RFC 2387); or the content alone.

use axum::body::Bytes;
use axum::http::header;
use serde_json::{Value, json};

use super::super::call::{Asked, Media};

/// What is told of the content, and the content; or what is wrong with them.
pub(in crate::gcp) fn parts(asked: &Asked) -> Result<(Value, Media), String> {
    let kind = asked.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    match asked.parameter("uploadType") {
        Some("multipart") => multipart(kind, &asked.body),
        Some("media") => Ok((json!({}), Media { kind: kind.to_owned(), bytes: asked.body.clone() })),
        other => Err(format!("the fake takes no uploads of the type {other:?}")),
    }
}

fn multipart(kind: &str, body: &Bytes) -> Result<(Value, Media), String> {
    if !kind.starts_with("multipart/related") {
        return Err(format!("an upload in parts is multipart/related, not {kind:?}"));
    }
    let (_, boundary) = kind.split_once("boundary=").ok_or("the parts have no boundary")?;
    let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    let line = format!("--{boundary}");
    let begin = find(body, format!("{line}\r\n").as_bytes()).ok_or("the first part does not begin")? + line.len() + 2;
    let rest = &body[begin..];
    let between = find(rest, format!("\r\n{line}\r\n").as_bytes()).ok_or("the second part does not begin")?;
    let second = begin + between + line.len() + 4;
    // The content may be large and is looked through from its end.
    let end = find_last(body, format!("\r\n{line}--").as_bytes()).filter(|end| *end >= second);
    let end = end.ok_or("the second part does not end")?;
    let (told_kind, told) = part(body.slice(begin..begin + between))?;
    if !told_kind.starts_with("application/json") {
        return Err(format!("what is told of the content is JSON, not {told_kind:?}"));
    }
    let (kind, bytes) = part(body.slice(second..end))?;
    let told = serde_json::from_slice(&told).map_err(|error| error.to_string())?;
    Ok((told, Media { kind, bytes }))
}

/// The `content-type` of a part, and what follows its headers.
fn part(bytes: Bytes) -> Result<(String, Bytes), String> {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    let end =
        if bytes.starts_with(b"\r\n") { 0 } else { find(&bytes, EMPTY_LINE).ok_or("a part has no headers' end")? };
    let after = if bytes.starts_with(b"\r\n") { 2 } else { end + EMPTY_LINE.len() };
    let headers = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lines = headers.lines().filter_map(|line| line.split_once(':'));
    let kind = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    Ok((kind.map_or_else(String::new, |(_, kind)| kind.trim().to_owned()), bytes.slice(after..)))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn find_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/related; boundary=\"b1\"";

    #[test]
    fn both_parts_are_found_whatever_stands_in_the_content() {
        let body = "--b1\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{\"name\":\"x\"}\r\n--b1\r\ncontent-type: text/plain\
                    \r\n\r\na\r\n--b2\r\n\r\n--b1-\r\nz\r\n--b1--\r\n";
        let (told, media) = multipart(KIND, &Bytes::from(body)).expect("two parts");
        assert_eq!((told, media.kind.as_str()), (json!({"name": "x"}), "text/plain"));
        assert_eq!(media.bytes, "a\r\n--b2\r\n\r\n--b1-\r\nz");
    }

    #[test]
    fn what_is_no_upload_is_said() {
        let upload = |kind: &str, body: &'static str| multipart(kind, &Bytes::from(body)).map(|_| ());
        assert!(upload("application/json", "{}").is_err());
        assert!(upload("multipart/related", "").is_err());
        assert!(upload(KIND, "--b1\r\ncontent-type: application/json\r\n\r\n{}\r\n--b1--").is_err());
        assert!(upload(KIND, "--b1\r\ncontent-type: text/plain\r\n\r\n{}\r\n--b1\r\n\r\nx\r\n--b1--").is_err());
        assert!(upload(KIND, "--b1\r\ncontent-type: application/json\r\n\r\n{}\r\n--b1\r\n\r\nx\r\n--b1--").is_ok());
    }
}
