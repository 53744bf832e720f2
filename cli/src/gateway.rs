//! dsctl's calls to a deployment's gateway: its admin API on loopback, with the token from `secrets/`.

use std::time::Duration;

use providers::host_view::scheme;
use providers::local::graph::{ADMIN_TOKEN, API_KEY, GATEWAY_FILE};
use providers::local::host_name;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spec::host::HostSpec;
use spec::id::SecretName;
use spec::layout::DeploymentLayout;
use spec::openai::ErrorBody;
use spec::route::GatewayConfig;

use crate::exit::{Failure, Kind};

/// One call may wait for a journal write, never for a model.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// What the deployment's files say of its gateway.
#[derive(Debug, Clone)]
pub struct GatewayFiles {
    pub config: GatewayConfig,
    /// `http`, or `https` if it has a certificate.
    pub scheme: &'static str,
    pub api_key_file: std::path::PathBuf,
}

impl GatewayFiles {
    pub fn endpoint(&self) -> String {
        format!("{}://{}/v1", self.scheme, self.config.listen)
    }

    /// Where the gateway shows its metrics to this machine: where nobody needs a certificate for them.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.config.admin_listen)
    }
}

/// The host spec that lies in the bucket.
pub fn host_spec(layout: &DeploymentLayout) -> Result<HostSpec, Failure> {
    let path = layout.bucket().desired(&host_name());
    let bytes = std::fs::read(&path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())).next("dsctl up"))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

pub fn gateway_files(layout: &DeploymentLayout) -> Result<GatewayFiles, Failure> {
    let spec = host_spec(layout)?;
    let file = spec.files.iter().find(|file| file.name == GATEWAY_FILE);
    let content = file.map(|file| file.content.as_str()).unwrap_or_default();
    let config = serde_json::from_str(content)
        .map_err(|error| Failure::failed(format!("{GATEWAY_FILE} of the host spec: {error}")).next("dsctl up"))?;
    Ok(GatewayFiles { config, scheme: scheme(&spec), api_key_file: layout.bucket().secret(&secret(API_KEY)?) })
}

fn secret(name: &str) -> Result<SecretName, Failure> {
    name.parse().map_err(Failure::failed)
}

/// The admin API.
#[derive(Debug)]
pub struct Gateway {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Gateway {
    /// For a browser; what stands behind the `#` is sent to nobody.
    pub fn page(&self) -> String {
        format!("{}/page#token={}", self.base, self.token)
    }

    pub fn of(layout: &DeploymentLayout) -> Result<Self, Failure> {
        let files = gateway_files(layout)?;
        let path = layout.bucket().secret(&secret(ADMIN_TOKEN)?);
        let token = std::fs::read_to_string(&path)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())).next("dsctl up"))?;
        let client = reqwest::Client::builder().no_proxy().timeout(CALL_LIMIT).build().map_err(Failure::failed)?;
        let base = format!("http://{}", files.config.admin_listen);
        Ok(Self { client, base, token: token.trim().to_owned() })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> Result<T, Failure> {
        self.call(Method::POST, path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| {
            Failure::failed(format!("the gateway does not answer: {}", root_cause(&error))).next("dsctl status")
        })?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| Failure::failed(root_cause(&error)))?;
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::failed(format!("the gateway's answer: {error}")))
    }
}

fn refused(status: StatusCode, bytes: &[u8]) -> Failure {
    let message = match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => body.error.message,
        Err(_) => format!("the gateway answered {status}"),
    };
    let kind = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::new(kind, message)
}

/// The innermost error: what the operating system said.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
