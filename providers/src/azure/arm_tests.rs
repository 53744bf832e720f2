//! Calls against a small server that answers by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::azure::auth::tests::session_at;

const ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/main";

/// Answers in turn, and what was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Each answer is a status, headers and a body; `@` stands for the server's URL.
    async fn start(answers: Vec<(u16, &'static str, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, base, mut answers) = (asked.clone(), url.clone(), VecDeque::from(answers));
        tokio::spawn(async move {
            while let Some((status, headers, body)) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = request(&mut stream).await;
                log.lock().unwrap().push(request);
                let body = if body.is_null() { String::new() } else { body.to_string().replace('@', &base) };
                let headers = headers.replace('@', &base);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, asked }
    }

    fn arm(&self) -> Arm {
        session_at(&self.url).arm
    }

    /// Method and path of each request.
    fn asked(&self) -> Vec<String> {
        let line =
            |request: &String| request.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
        self.asked.lock().unwrap().iter().map(line).collect()
    }
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

const OPERATION: &str = "azure-asyncoperation: @/operations/1?api-version=x\r\nretry-after: 0\r\n";
const LOCATION: &str = "location: @/results/1?api-version=x\r\nretry-after: 0\r\n";
const SOON: &str = "retry-after: 0\r\n";

fn thing(state: &str) -> Value {
    json!({"id": ID, "properties": {"provisioningState": state}})
}

#[tokio::test]
async fn what_has_only_begun_is_followed_to_its_end() {
    let server = Server::start(vec![
        (201, OPERATION, thing("Updating")),
        (200, SOON, json!({"status": "InProgress"})),
        (200, SOON, json!({"status": "Succeeded"})),
        (200, "", thing("Succeeded")),
    ])
    .await;
    let made = server.arm().put("network.main", ID, &json!({"location": "westeurope"})).await.unwrap();
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    let path = format!("{ID}?api-version=2025-05-01");
    assert_eq!(
        server.asked(),
        [
            format!("PUT {path}"),
            "GET /operations/1?api-version=x".to_owned(),
            "GET /operations/1?api-version=x".to_owned(),
            format!("GET {path}")
        ]
    );
    let put = server.asked.lock().unwrap()[0].clone();
    assert!(put.contains("{\"location\":\"westeurope\"}") && put.contains("authorization: Bearer "), "{put}");
}

#[tokio::test]
async fn an_operation_that_failed_says_why_and_is_not_begun_again() {
    for (status, error, kind) in [
        ("Failed", json!({"code": "AllocationFailed", "message": "no room"}), ErrorKind::Capacity),
        ("Canceled", json!({"code": "OperationPreempted", "message": "another came"}), ErrorKind::NotYet),
        ("Failed", json!({"code": "InternalExecutionError", "message": "sorry"}), ErrorKind::Ambiguous),
    ] {
        let server =
            Server::start(vec![(201, OPERATION, Value::Null), (200, "", json!({"status": status, "error": error}))])
                .await;
        let failed = server.arm().put("machine.main", ID, &json!({})).await.unwrap_err();
        assert_eq!(failed.kind, kind, "{failed}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_location_is_asked_until_it_is_no_longer_202() {
    let server = Server::start(vec![
        (202, LOCATION, Value::Null),
        (202, "location: @/results/2\r\nretry-after: 0\r\n", Value::Null),
        (200, "", Value::Null),
        (404, "", json!({"error": {"code": "ResourceNotFound", "message": "m"}})),
    ])
    .await;
    server.arm().delete(ID).await.unwrap();
    assert_eq!(server.asked()[1..3], ["GET /results/1?api-version=x".to_owned(), "GET /results/2".to_owned()]);
}

#[tokio::test]
async fn what_is_absent_is_removed_already() {
    let absent = || (404, "", json!({"error": {"code": "ResourceNotFound", "message": "m"}}));
    let server = Server::start(vec![absent(), absent()]).await;
    server.arm().delete(ID).await.unwrap();
    // Gone while it was waited for.
    let server = Server::start(vec![(202, LOCATION, Value::Null), absent(), absent()]).await;
    server.arm().delete(ID).await.unwrap();
    let server = Server::start(vec![absent()]).await;
    assert_eq!(server.arm().get(ID).await.unwrap(), None);
}

#[tokio::test]
async fn an_act_is_sent_once_and_a_look_until_it_is_answered() {
    let busy = || (503, SOON, Value::Null);
    let server = Server::start(vec![busy()]).await;
    let failed = server.arm().put("x", ID, &json!({})).await.unwrap_err();
    assert_eq!((failed.kind, server.asked().len()), (ErrorKind::Ambiguous, 1));
    let server = Server::start(vec![busy(), busy(), (200, "", thing("Succeeded"))]).await;
    assert!(server.arm().get(ID).await.unwrap().is_some());
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_operation_that_nobody_can_tell_about_is_a_riddle() {
    let server = Server::start(vec![
        (202, OPERATION, Value::Null),
        (404, "", json!({"error": {"code": "NotFound", "message": "no such operation"}})),
    ])
    .await;
    assert_eq!(server.arm().put("x", ID, &json!({})).await.unwrap_err().kind, ErrorKind::Ambiguous);
}

#[tokio::test]
async fn what_must_be_new_says_so() {
    let server = Server::start(vec![(412, "", json!({"error": {"code": "PreconditionFailed", "message": "m"}}))]).await;
    let failed = server.arm().put_new("machine.main", ID, &json!({})).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Ambiguous);
    assert!(server.asked.lock().unwrap()[0].contains("if-none-match: *"));
}

#[tokio::test]
async fn a_list_has_many_pages() {
    let server = Server::start(vec![
        (200, "", json!({"value": [1], "nextLink": "@/more?page=2"})),
        (200, "", json!({"value": [2]})),
    ])
    .await;
    let all = server.arm().list("/subscriptions/s/resources", "v", &[("$filter", "a eq 'b'")]).await.unwrap();
    assert_eq!(all, [1, 2]);
    let first = "GET /subscriptions/s/resources?api-version=v&$filter=a%20eq%20%27b%27";
    assert_eq!(server.asked(), [first, "GET /more?page=2"]);
}

/// Whoever sweeps the wrong subscription must not read that there is nothing.
#[tokio::test]
async fn a_list_of_a_subscription_that_is_not_seen_is_no_empty_one() {
    let told = |code: &str| (404, "", json!({"error": {"code": code, "message": "m"}}));
    let server = Server::start(vec![told("SubscriptionNotFound"), told("ResourceGroupNotFound")]).await;
    let error = server.arm().list("/subscriptions/s/resources", "v", &[]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.next().unwrap_or_default().contains("az account set")),
        (ErrorKind::Credentials, true)
    );
    assert!(server.arm().list("/subscriptions/s/resourceGroups/g/resources", "v", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_goes_nowhere_else() {
    let server =
        Server::start(vec![(202, "location: https://elsewhere.example/x\r\nretry-after: 0\r\n", Value::Null)]).await;
    let failed = server.arm().delete(ID).await.unwrap_err();
    assert!(failed.to_string().contains("elsewhere.example"), "{failed}");
    assert!(is_home("https://management.azure.com", "https://westeurope.management.azure.com/x"));
    assert!(!is_home("https://management.azure.com", "https://evilmanagement.azure.com/x"));
    assert!(!is_home("https://management.azure.com", "http://westeurope.management.azure.com/x"));
}

#[test]
fn what_has_no_state_is_settled() {
    assert!(is_settled(&json!({"properties": {}})) && is_settled(&thing("Failed")));
    assert!(!is_settled(&thing("Updating")));
    assert_eq!(short(ID), "virtualNetworks main");
}
