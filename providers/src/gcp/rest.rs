//! Calls of Google's REST APIs that are made without a crate: storage and service accounts. `http` sends them; here they get
//! their address, their credentials, and their errors' meaning.

use engine::provider::ProviderError;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Url};

use super::error::{Denied, is_rate};
use super::fault::{Fault, Heard, no_token};
use crate::http::{Answer, Http};

/// Which of Google's hosts answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Storage,
    Iam,
}

impl Host {
    const fn url(self) -> &'static str {
        match self {
            Self::Storage => "https://storage.googleapis.com",
            Self::Iam => "https://iam.googleapis.com",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Rest {
    http: Http,
    credentials: Credentials,
    /// Where Google is, if not at Google.
    endpoint: Option<String>,
}

/// One call, before it has its credentials.
#[derive(Debug)]
pub struct Call(Result<RequestBuilder, ProviderError>);

impl Call {
    #[must_use]
    pub fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self(self.0.map(change))
    }

    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.with(|request| request.json(body))
    }
}

impl Rest {
    pub fn new(credentials: Credentials, endpoint: Option<String>) -> Result<Self, ProviderError> {
        Ok(Self { http: Http::new()?, credentials, endpoint })
    }

    /// Begins a call; the parts of its path are encoded, slashes in them too.
    pub fn call(&self, host: Host, method: Method, path: &[&str], query: &[(&str, &str)]) -> Call {
        let url = url(self.endpoint.as_deref().unwrap_or(host.url()), path, query);
        Call(url.map(|url| self.http.request(method, url.as_str())))
    }

    /// Sends it as often as it takes: it changes nothing. Too many calls are a 403 as well.
    pub async fn look(&self, what: impl ToString, call: Call) -> Result<Answer, Denied> {
        let what = what.to_string();
        let request = self.ready(&what, call).await?;
        let is_busy = |answer: &Answer| answer.is_busy() || is_rate(&Fault::of_answer(answer));
        answered(&what, self.http.look_while(&request, is_busy).await)
    }

    /// Sends it once.
    pub async fn act(&self, what: impl ToString, call: Call) -> Result<Answer, Denied> {
        let what = what.to_string();
        let request = self.ready(&what, call).await?;
        answered(&what, self.http.act(request).await)
    }

    async fn ready(&self, what: &str, call: Call) -> Result<reqwest::Request, Denied> {
        let unsendable =
            |message: String| Denied::new(what, &Fault { heard: Heard::Unsendable, message, ..Fault::default() });
        let builder = call.0.map_err(|error| unsendable(error.to_string()))?;
        let headers = self.authorization(what).await?;
        builder.headers(headers).build().map_err(|error| unsendable(error.to_string()))
    }

    async fn authorization(&self, what: &str) -> Result<HeaderMap, Denied> {
        match self.credentials.headers(Default::default()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => {
                let (heard, message) = (Heard::NoCredentials, no_token(&error));
                Err(Denied::new(what, &Fault { heard, message, ..Fault::default() }))
            }
        }
    }
}

fn answered(what: &str, answer: Result<Answer, crate::http::Silence>) -> Result<Answer, Denied> {
    match answer {
        Ok(answer) if answer.is_success() => Ok(answer),
        Ok(answer) => Err(Denied::new(what, &Fault::of_answer(&answer))),
        Err(silence) => Err(Denied::new(what, &Fault::of_silence(&silence))),
    }
}

fn url(base: &str, path: &[&str], query: &[(&str, &str)]) -> Result<Url, ProviderError> {
    let wrong = |error: &dyn std::fmt::Display| ProviderError::permanent(base, error);
    let mut url = Url::parse(base).map_err(|error| wrong(&error))?;
    url.path_segments_mut().map_err(|()| wrong(&"it is no address of a server"))?.pop_if_empty().extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_part_of_its_path() {
        let path = ["storage", "v1", "b", "bucket", "o", "secrets/api key"];
        let found = url("http://127.0.0.1:1", &path, &[("alt", "media"), ("q", "a&b")]).unwrap();
        assert_eq!(found.as_str(), "http://127.0.0.1:1/storage/v1/b/bucket/o/secrets%2Fapi%20key?alt=media&q=a%26b");
        let account = url(Host::Iam.url(), &["v1", "projects", "p", "serviceAccounts", "a@p.iam:enable"], &[]).unwrap();
        assert_eq!(account.as_str(), "https://iam.googleapis.com/v1/projects/p/serviceAccounts/a@p.iam:enable");
        assert!(url("no address", &path, &[]).is_err());
    }
}
