//! The public API: who gets in, what is refused and how, and where requests go.

use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::public::{Peer, router};

#[tokio::test]
async fn only_a_key_opens_the_api() {
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let url = |path: &str| format!("http://{}{path}", house.public);
    let calls = [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt"),
    ];
    for (method, path) in calls {
        for (header, hint) in
            [(None, "no API key given"), (Some("Bearer wrong"), "not valid"), (Some(KEY), "not valid")]
        {
            let mut request = house.client.request(method.parse().unwrap(), url(path));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let (status, error) = error_of(answer).await;
            assert_eq!((status, error.code.as_deref()), (401, Some("invalid_api_key")), "{method} {path}");
            assert!(error.message.contains(hint), "{error:?}");
        }
    }
    assert!(candidate.seen().is_empty());
    for open in ["/health", "/ready", "/metrics"] {
        assert_eq!(house.client.get(url(open)).send().await.unwrap().status(), 200, "{open}");
    }
    assert!(house.metrics().await.contains("dsctl_gateway_answers_total{status=\"401\",variant=\"none\"} 15"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let large = format!("{{\"model\":\"x\",\"a\":\"{}\"}}", "a".repeat(20_000));
    for (body, status, param, hint) in [
        ("{\"model\": \"x\",\n oops}", 400, None, "line 2 column"),
        ("", 400, None, "not valid JSON"),
        ("[]", 400, None, "not an array"),
        ("{}", 400, Some("model"), "missing"),
        ("{\"model\":3}", 400, Some("model"), "not a number"),
        (large.as_str(), 413, None, "larger than 10000 bytes"),
    ] {
        let (given, error) = error_of(house.post("/v1/chat/completions", body.to_owned()).send().await.unwrap()).await;
        assert_eq!((given, error.param.as_deref()), (status, param), "{error:?}");
        assert!(error.message.contains(hint), "{error:?}");
        assert_eq!(error.kind, "invalid_request_error");
    }
    let wrong_type = house.client.post(format!("http://{}/v1/completions", house.public)).bearer_auth(KEY);
    let wrong_type = wrong_type.header("content-type", "text/plain").body("{\"model\":\"x\"}").send().await.unwrap();
    let (status, error) = error_of(wrong_type).await;
    assert_eq!(status, 415);
    assert!(error.message.contains("text/plain"), "{error:?}");

    let (status, error) = error_of(house.get("/v1/nothing").await).await;
    assert_eq!((status, error.message.as_str()), (404, "there is nothing at /v1/nothing"));
    let answer = house.get("/v1/chat/completions").await;
    assert_eq!(answer.headers()["allow"], "POST");
    assert_eq!(error_of(answer).await.0, 405);
    assert!(candidate.seen().is_empty());
}

#[tokio::test]
async fn a_body_reaches_the_upstream_as_it_was_written() {
    let candidate = Mock::new(Reply::ok("candidate").header("x-request-id", "r-1").header("set-cookie", "a=b")).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let body = "{ \"n\" : 123456789012345678901234567890.10, \"model\":\"gpt\",\"b\":\"\\u00e9\" }";
    let answer = house
        .post("/v1/embeddings", body)
        .header("cookie", "c=d")
        .header("accept-encoding", "gzip")
        .header("openai-organization", "org")
        .header("traceparent", "00-1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "r-1");
    assert_eq!(answer.headers()["x-dsctl-generation"], "1");
    assert!(!answer.headers().contains_key("set-cookie"));
    let seen = candidate.seen().remove(0);
    assert_eq!(seen.body, body.replace("gpt", "r1"));
    assert!(seen.head.starts_with("post /v1/embeddings http/1.1"), "{}", seen.head);
    assert!(
        seen.head.contains("traceparent: 00-1") && seen.head.contains("accept-encoding: identity"),
        "{}",
        seen.head
    );
    for private in ["cookie", "authorization", "openai-organization", KEY] {
        assert!(!seen.head.contains(private), "{}", seen.head);
    }
}

#[tokio::test]
async fn models_are_those_that_clients_may_name() {
    let house = House::open(Some("http://127.0.0.1:1/v1"), Some("http://127.0.0.1:1/v1")).await;
    let list: Value = house.get("/v1/models").await.json().await.unwrap();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["gpt", "r1"]);
    assert_eq!((list["object"].as_str(), list["data"][0]["object"].as_str()), (Some("list"), Some("model")));
    // The candidate answers to any name.
    for name in ["gpt", "r1", "org/any"] {
        let model: Value = house.get(&format!("/v1/models/{name}")).await.json().await.unwrap();
        assert_eq!((model["id"].as_str(), model["object"].as_str()), (Some(name), Some("model")));
    }
    let house = House::open_with(Some("http://127.0.0.1:1/v1"), None, |config| {
        config["variants"]["baseline"]["models"] = json!({"gpt": "gpt-4", "org/gpt": "gpt-4"});
    })
    .await;
    for name in ["gpt", "org/gpt", "org%2Fgpt"] {
        assert_eq!(house.get(&format!("/v1/models/{name}")).await.status(), 200, "{name}");
    }
    for name in ["r1", "gpt-4", "org", "org/gpt/x"] {
        let (status, error) = error_of(house.get(&format!("/v1/models/{name}")).await).await;
        assert_eq!((status, error.code.as_deref()), (404, Some("model_not_found")));
        assert!(error.message.contains(name), "{error:?}");
    }
}

#[tokio::test]
async fn the_split_is_exact_and_a_session_stays() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    house.weigh("30%").await;
    let mut candidates = 0_i32;
    for _ in 0..100 {
        candidates += i32::from(variant_of(&house.chat().await) == "candidate");
    }
    assert!((candidates - 30).abs() <= 4, "{candidates}");

    let ask = async |header: Option<&str>, body: &str| {
        let mut request = house.post("/v1/chat/completions", body.to_owned());
        if let Some(session) = header {
            request = request.header("x-session-id", session);
        }
        variant_of(&request.send().await.unwrap()).to_owned()
    };
    for session in 0..20 {
        let session = format!("session-{session}");
        let as_user = format!("{{\"model\":\"gpt\",\"user\":\"{session}\"}}");
        let first = ask(Some(&session), "{\"model\":\"gpt\",\"user\":\"other\"}").await;
        assert_eq!(ask(Some(&session), "{\"model\":\"gpt\"}").await, first);
        assert_eq!(ask(None, &as_user).await, first, "header and user are one key");
    }
}

#[tokio::test]
async fn with_one_variant_everything_goes_there() {
    let mock = Mock::new(Reply::ok("x")).await;
    let house = House::open(Some(&mock.url()), None).await;
    house.weigh("100%").await;
    assert_eq!(variant_of(&house.chat().await), "baseline");
    assert!(house.metrics().await.contains("dsctl_rollout_weight{variant=\"baseline\"} 1"));
    let house = House::open(None, Some(&mock.url())).await;
    house.weigh("0%").await;
    assert_eq!(variant_of(&house.chat().await), "candidate");
}

#[tokio::test]
async fn metrics_are_open_to_this_machine_only() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    let service = TowerToHyperService::new(router(house.control.plane.clone()));
    let from = async |peer: &str, key: Option<&str>| {
        let mut request = http::Request::get("/metrics").extension(Peer(peer.parse().unwrap()));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        service.call(request.body(axum::body::Body::empty()).unwrap()).await.unwrap().status().as_u16()
    };
    for (peer, key, status) in [
        ("127.0.0.1:5", None, 200),
        ("[::ffff:127.0.0.1]:5", None, 200),
        ("10.0.0.7:5", None, 401),
        ("10.0.0.7:5", Some("wrong"), 401),
        ("10.0.0.7:5", Some(KEY), 200),
    ] {
        assert_eq!(from(peer, key).await, status, "{peer} {key:?}");
    }
}
