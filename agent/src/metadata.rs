//! What a cloud's metadata service tells a machine of itself: the public address in front of it, which it does not have
//! itself.
//!
//! Sources: AWS, "Use IMDSv2"; Google, "View and query VM metadata"; Microsoft, "Azure Instance Metadata Service" (addresses
//! of the kind Standard stand in the load balancer's part only).

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use spec::deployment::Cloud;

const SERVICE: &str = "http://169.254.169.254";
const PATIENCE: Duration = Duration::from_secs(5);

/// None if it has none, or the service does not answer.
pub(crate) async fn public_address(cloud: Cloud) -> Option<IpAddr> {
    let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().ok()?;
    asked(&client, SERVICE, cloud).await
}

async fn asked(client: &Client, service: &str, cloud: Cloud) -> Option<IpAddr> {
    let get = |path: &str| client.get(format!("{service}{path}"));
    match cloud {
        Cloud::Local => None,
        Cloud::Aws => {
            let token = client.request(Method::PUT, format!("{service}/latest/api/token"));
            let token = text(token.header("X-aws-ec2-metadata-token-ttl-seconds", "60")).await?;
            let address = get("/latest/meta-data/public-ipv4").header("X-aws-ec2-metadata-token", token);
            text(address).await?.parse().ok()
        }
        Cloud::Gcp => {
            let path = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
            text(get(path).header("Metadata-Flavor", "Google")).await?.parse().ok()
        }
        Cloud::Azure => {
            let answer = get("/metadata/loadbalancer?api-version=2020-10-01").header("Metadata", "true");
            of_azure(&serde_json::from_str(&text(answer).await?).ok()?)
        }
    }
}

async fn text(request: RequestBuilder) -> Option<String> {
    let answer = request.send().await.ok()?.error_for_status().ok()?;
    Some(answer.text().await.ok()?.trim().to_owned())
}

fn of_azure(answer: &Value) -> Option<IpAddr> {
    answer.pointer("/loadbalancer/publicIpAddresses/0/frontendIpAddress")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, put};
    use serde_json::json;

    use super::*;

    /// Answers only who asks as each cloud wants it.
    fn service() -> Router {
        let told = |name: &'static str, value: &'static str, answer: String| {
            get(move |headers: HeaderMap| async move {
                match headers.get(name).is_some_and(|given| given == value) {
                    true => Ok(answer),
                    false => Err(StatusCode::UNAUTHORIZED),
                }
            })
        };
        let azure = json!({"loadbalancer": {"publicIpAddresses": [
            {"frontendIpAddress": "203.0.113.3", "privateIpAddress": "10.0.0.4"}
        ]}});
        Router::new()
            .route("/latest/api/token", put(async || "token"))
            .route(
                "/latest/meta-data/public-ipv4",
                told("x-aws-ec2-metadata-token", "token", "203.0.113.1\n".to_owned()),
            )
            .route(
                "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
                told("metadata-flavor", "Google", "203.0.113.2".to_owned()),
            )
            .route("/metadata/loadbalancer", told("metadata", "true", azure.to_string()))
    }

    #[tokio::test]
    async fn each_cloud_is_asked_in_its_own_way() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, service()).await });
        let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        for (cloud, address) in
            [(Cloud::Aws, "203.0.113.1"), (Cloud::Gcp, "203.0.113.2"), (Cloud::Azure, "203.0.113.3")]
        {
            assert_eq!(asked(&client, &url, cloud).await, address.parse().ok(), "{cloud}");
        }
        assert_eq!(asked(&client, &url, Cloud::Local).await, None);
        serving.abort();
        assert_eq!(asked(&client, "http://127.0.0.1:1", Cloud::Aws).await, None);
    }
}
