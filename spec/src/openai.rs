//! The error object of the OpenAI API, as dsserve and dsgate both send it.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success: `{"error": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorObject,
}

/// What went wrong. `param` names the offending field of the request, `code` is for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub param: Option<String>,
    pub code: Option<String>,
}

/// The kinds of error that the API knows, each with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400
    InvalidRequest,
    /// 401
    Authentication,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 413
    TooLarge,
    /// 415
    UnsupportedMediaType,
    /// 429
    RateLimit,
    /// 500
    Server,
    /// 502
    BadGateway,
    /// 503
    Unavailable,
    /// 504
    Timeout,
}

impl ErrorKind {
    /// The HTTP status that goes with the kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RateLimit => 429,
            Self::Server => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The `type` field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::TooLarge
            | Self::UnsupportedMediaType => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server | Self::BadGateway | Self::Timeout => "server_error",
            Self::Unavailable => "service_unavailable_error",
        }
    }

    /// The body for a message; `param` and `code` as the API has them.
    pub fn body(self, message: impl Into<String>, param: Option<&str>, code: Option<&str>) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: message.into(),
                kind: self.name().to_owned(),
                param: param.map(str::to_owned),
                code: code.map(str::to_owned),
            },
        }
    }
}
