//! The blob service: who is let in, what is kept, what versions there are.

use reqwest::Method;
use serde_json::json;

use super::super::access::{BLOB_CONTRIBUTOR, BLOB_OWNER, BLOB_READER};
use super::super::{Azure, CALLER, Looks, token};
use super::access::{assignment, role};
use super::storage::container;
use super::{Told, send, thing};

const NAME: &str = "11111111-2222-4333-8444-555555555555";
const WRITER: &str = "11111111-2222-4333-8444-555555555556";
const SERVICE: &str = "Microsoft.Storage/storageAccounts/dsctltests/blobServices/default";

impl Azure {
    #[track_caller]
    fn blob_as(&self, who: &str, method: Method, rest: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let bearer = format!("Bearer {}", token(who));
        let all = [&[("authorization", bearer.as_str()), ("x-ms-version", "2024-11-04")], headers].concat();
        let body = (method == Method::PUT || method == Method::POST).then(|| body.to_owned());
        send(method, &format!("{}/dsctltests{rest}", self.url()), &all, body)
    }

    #[track_caller]
    fn asks(&self, method: Method, rest: &str, headers: &[(&str, &str)]) -> Told {
        self.blob_as(CALLER, method, rest, headers, "")
    }

    #[track_caller]
    fn puts(&self, key: &str, text: &str, headers: &[(&str, &str)]) -> Told {
        let all = [&[("x-ms-blob-type", "BlockBlob")], headers].concat();
        self.blob_as(CALLER, Method::PUT, &format!("/dsctl/{key}"), &all, text)
    }

    /// With a container that the caller writes; gives the container's id.
    #[track_caller]
    fn with_container() -> (Self, String) {
        let azure = Self::ready();
        let container = container(&azure);
        azure.put(&role(&container, NAME), &assignment(BLOB_CONTRIBUTOR, CALLER, "User")).is(201);
        (azure, container)
    }
}

#[test]
fn who_has_no_role_is_not_let_in_nor_at_once_who_has_one() {
    let azure = Azure::ready();
    let container = container(&azure);
    azure.puts("key", "text", &[]).refused_blob(403, "AuthorizationPermissionMismatch");
    azure.set_looks(Looks { access: 2, ..Looks::NONE });
    azure.put(&role(&container, NAME), &assignment(BLOB_CONTRIBUTOR, CALLER, "User")).is(201);
    azure.puts("key", "text", &[]).refused_blob(403, "AuthorizationPermissionMismatch");
    for _ in 0..2 {
        azure.asks(Method::HEAD, "/dsctl/key", &[]).refused_blob(403, "AuthorizationPermissionMismatch");
    }
    azure.asks(Method::HEAD, "/dsctl/key", &[]).refused_blob(404, "BlobNotFound");
    azure.puts("key", "text", &[]).refused_blob(403, "AuthorizationPermissionMismatch");
    azure.puts("key", "text", &[]).is(201);
    assert_eq!(azure.blob("dsctltests", "dsctl", "key").as_deref(), Some("text"));
}

#[test]
fn a_machine_reads_all_and_writes_where_its_condition_says() {
    let (azure, container) = Azure::with_container();
    let identity = thing("Microsoft.ManagedIdentity/userAssignedIdentities/machine");
    let made = azure.made(&identity, &json!({"location": "eastus"}));
    let principal = made["properties"]["principalId"].as_str().expect("a principal").to_owned();
    azure.put(&role(&container, WRITER), &assignment(BLOB_READER, &principal, "ServicePrincipal")).is(201);
    let blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs";
    let mut writes = assignment(BLOB_CONTRIBUTOR, &principal, "ServicePrincipal");
    writes["properties"]["conditionVersion"] = json!("2.0");
    writes["properties"]["condition"] = json!(format!(
        "((!(ActionMatches{{'{blobs}/write'}})) OR (@Resource[{blobs}:path] StringLike 'host/*')) AND \
         !(ActionMatches{{'{blobs}/delete'}})"
    ));
    azure.put(&role(&container, &WRITER.replace("556", "557")), &writes).is(201);
    azure.puts("secrets/key", "secret", &[]).is(201);
    let machine = |method: Method, key: &str| {
        azure.blob_as(&principal, method, &format!("/dsctl/{key}"), &[("x-ms-blob-type", "BlockBlob")], "text")
    };
    let reads = |key: &str| azure.blob_as(&principal, Method::GET, &format!("/dsctl/{key}"), &[], "");
    assert_eq!(reads("secrets/key").is(200).body, "secret");
    machine(Method::PUT, "host/main/status.json").is(201);
    machine(Method::PUT, "secrets/key").refused_blob(403, "AuthorizationPermissionMismatch");
    let removed = azure.blob_as(&principal, Method::DELETE, "/dsctl/host/main/status.json", &[], "");
    removed.refused_blob(403, "AuthorizationPermissionMismatch");
}

#[test]
fn keys_of_the_account_do_not_open_it() {
    let (azure, _) = Azure::with_container();
    let url = format!("{}/dsctltests/dsctl/key", azure.url());
    let version = ("x-ms-version", "2024-11-04");
    send(Method::GET, &url, &[version, ("authorization", "SharedKey dsctltests:abc")], None)
        .refused_blob(403, "KeyBasedAuthenticationNotPermitted");
    send(Method::GET, &url, &[version], None).refused_blob(401, "NoAuthenticationInformation");
}

#[test]
fn a_blob_carries_metadata_and_is_written_on_condition() {
    let (azure, _) = Azure::with_container();
    azure.asks(Method::HEAD, "/dsctl/a/b", &[]).refused_blob(404, "BlobNotFound");
    azure.puts("a/b", "one", &[("if-match", "\"0x1\"")]).refused_blob(412, "ConditionNotMet");
    let put = azure
        .puts("a/b", "one", &[("if-none-match", "*"), ("x-ms-meta-dsctl_token", "t"), ("content-type", "text/plain")])
        .is(201);
    let tag = put.header("etag").expect("a tag").to_owned();
    azure.puts("a/b", "two", &[("if-none-match", "*")]).refused_blob(409, "BlobAlreadyExists");
    azure.puts("a/b", "two", &[("x-ms-meta-a-b", "t")]).refused_blob(400, "InvalidMetadata");
    let head = azure.asks(Method::HEAD, "/dsctl/a/b", &[]).is(200);
    assert_eq!((head.header("x-ms-meta-dsctl_token"), head.header("content-length")), (Some("t"), Some("3")));
    assert_eq!((head.header("etag"), head.header("content-type")), (Some(tag.as_str()), Some("text/plain")));
    azure.asks(Method::GET, "/dsctl/a/b", &[("if-none-match", &tag)]).is(304);
    let changed = azure
        .blob_as(
            CALLER,
            Method::PUT,
            "/dsctl/a/b?comp=metadata",
            &[("if-match", &tag), ("x-ms-meta-dsctl_token", "u")],
            "",
        )
        .is(200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    azure.puts("a/b", "two", &[("if-match", &tag)]).refused_blob(412, "ConditionNotMet");
    assert_eq!(azure.asks(Method::GET, "/dsctl/a/b", &[]).is(200).body, "one");
    azure.asks(Method::DELETE, "/dsctl/a/b", &[]).is(202);
    azure.asks(Method::DELETE, "/dsctl/a/b", &[]).refused_blob(404, "BlobNotFound");
    azure.asks(Method::GET, "/other/a", &[]).refused_blob(403, "AuthorizationPermissionMismatch");
}

#[test]
fn part_of_a_blob_is_read() {
    let (azure, _) = Azure::with_container();
    azure.puts("key", "0123456789", &[]).is(201);
    let part = |range: &str| azure.asks(Method::GET, "/dsctl/key", &[("range", range)]);
    let told = part("bytes=2-4").is(206);
    assert_eq!((told.body.as_str(), told.header("content-range")), ("234", Some("bytes 2-4/10")));
    assert_eq!((part("bytes=8-").is(206).body, part("bytes=-3").is(206).body), ("89".to_owned(), "789".to_owned()));
    part("bytes=10-").refused_blob(416, "InvalidRange");
}

#[test]
fn earlier_versions_are_kept_listed_and_removed_by_an_owner() {
    let (azure, container) = Azure::with_container();
    azure.put(&thing(SERVICE), &json!({"properties": {"isVersioningEnabled": true}})).is(200);
    azure.puts("key", "one", &[("x-ms-meta-dsctl_token", "a&b")]).is(201);
    let second = azure.puts("key", "two", &[]).is(201);
    azure.puts("key2", "other", &[]).is(201);
    let versions = |azure: &Azure| {
        let list = azure
            .asks(Method::GET, "/dsctl?restype=container&comp=list&include=versions,metadata&prefix=key", &[])
            .is(200);
        let entries = list.body.split("<Blob>").skip(1).filter(|it| it.contains("<Name>key</Name>")).map(str::to_owned);
        entries.collect::<Vec<_>>()
    };
    let both = versions(&azure);
    assert_eq!(
        (both.len(), both[0].contains("IsCurrentVersion"), both[1].contains("IsCurrentVersion")),
        (2, false, true)
    );
    assert!(both[0].contains("<dsctl_token>a&amp;b</dsctl_token>"), "{}", both[0]);
    let current = second.header("x-ms-version-id").expect("a version");
    let removal = format!("/dsctl/key?versionid={current}");
    azure.asks(Method::DELETE, &removal, &[]).refused_blob(403, "AuthorizationPermissionMismatch");
    azure.put(&role(&container, WRITER), &assignment(BLOB_OWNER, CALLER, "User")).is(201);
    azure.asks(Method::DELETE, &removal, &[]).refused_blob(403, "OperationNotAllowedOnRootBlob");
    azure.asks(Method::DELETE, "/dsctl/key", &[]).is(202);
    azure.asks(Method::GET, "/dsctl/key", &[]).refused_blob(404, "BlobNotFound");
    assert_eq!(azure.account()["containers"][0]["versions"], 3, "they are kept still");
    for entry in versions(&azure) {
        let id = entry.split_once("<VersionId>").and_then(|(_, rest)| rest.split_once('<')).expect("a version").0;
        azure.asks(Method::DELETE, &format!("/dsctl/key?versionid={id}"), &[]).is(202);
    }
    assert_eq!(azure.account()["containers"][0]["keys"], json!(["key2"]));
}

#[test]
fn lists_have_folders_and_pages() {
    let (azure, _) = Azure::with_container();
    for key in ["a/1", "a/2", "b", "c"] {
        azure.puts(key, "text", &[]).is(201);
    }
    let list =
        |more: &str| azure.asks(Method::GET, &format!("/dsctl?restype=container&comp=list{more}"), &[]).is(200).body;
    let folders = list("&delimiter=/");
    assert!(
        folders.contains("<BlobPrefix><Name>a/</Name></BlobPrefix>") && !folders.contains("<Name>a/1</Name>"),
        "{folders}"
    );
    let first = list("&maxresults=3");
    let marker = first.split_once("<NextMarker>").and_then(|(_, rest)| rest.split_once('<')).expect("a marker").0;
    let second = list(&format!("&maxresults=3&marker={marker}"));
    assert!(
        second.contains("<Name>c</Name>") && second.contains("<NextMarker />") && !second.contains("<Name>b</Name>"),
        "{second}"
    );
}

#[test]
fn large_blobs_come_in_blocks() {
    let (azure, _) = Azure::with_container();
    for (id, text) in [("MQ==", "one "), ("Mg==", "two")] {
        let block = format!("/dsctl/large?comp=block&blockid={}", id.replace('=', "%3D"));
        azure.blob_as(CALLER, Method::PUT, &block, &[], text).is(201);
    }
    let commit = |ids: &[&str]| {
        let list: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        azure.blob_as(
            CALLER,
            Method::PUT,
            "/dsctl/large?comp=blocklist",
            &[],
            &format!("<BlockList>{list}</BlockList>"),
        )
    };
    commit(&["MQ==", "Mg=="]).is(201);
    assert_eq!(azure.asks(Method::GET, "/dsctl/large", &[]).body, "one two");
    commit(&["Mw=="]).refused_blob(400, "InvalidBlockList");
    let source = format!("{}/dsctltests/dsctl/large", azure.url());
    azure.blob_as(CALLER, Method::PUT, "/dsctl/copy", &[("x-ms-copy-source", &source)], "").is(202);
    assert_eq!(azure.asks(Method::GET, "/dsctl/copy", &[]).body, "one two");
}

#[test]
fn several_are_removed_in_one_request() {
    let (azure, _) = Azure::with_container();
    azure.puts("a", "text", &[]).is(201);
    let part = |id: u32, key: &str| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: \
             {id}\r\n\r\nDELETE /dsctltests/dsctl/{key} HTTP/1.1\r\nx-ms-version: 2023-11-03\r\n\r\n\r\n"
        )
    };
    let body = format!("{}{}--b--\r\n", part(0, "a"), part(1, "none"));
    let kind = [("content-type", "multipart/mixed; boundary=b")];
    let told = azure.blob_as(CALLER, Method::POST, "/dsctl?restype=container&comp=batch", &kind, &body).is(202);
    let parts: Vec<&str> = told.body.split("--b").skip(1).collect();
    assert!(parts[0].contains("Content-ID: 0") && parts[0].contains("HTTP/1.1 202"), "{told:?}");
    assert!(
        parts[1].contains("Content-ID: 1") && parts[1].contains("HTTP/1.1 404") && parts[1].contains("BlobNotFound"),
        "{told:?}"
    );
}

#[test]
fn what_a_policy_keeps_is_neither_changed_nor_removed() {
    let (azure, container) = Azure::with_container();
    azure.puts("record", "text", &[]).is(201);
    azure
        .put(
            &format!("{container}/immutabilityPolicies/default"),
            &json!({"properties": {"immutabilityPeriodSinceCreationInDays": 30}}),
        )
        .is(200);
    azure.puts("record", "other", &[]).refused_blob(409, "BlobImmutableDueToPolicy");
    azure.asks(Method::DELETE, "/dsctl/record", &[]).refused_blob(409, "BlobImmutableDueToPolicy");
    azure.puts("new", "text", &[]).is(201);
}

#[test]
fn the_services_log_is_set_by_who_owns_the_account() {
    let (azure, _) = Azure::with_container();
    let text = "<StorageServiceProperties><Logging><Version>2.0</Version><Delete>true</Delete><Read>true</Read>\
                <Write>true</Write><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>\
                </StorageServiceProperties>";
    let target = "/?restype=service&comp=properties";
    assert!(azure.asks(Method::GET, target, &[]).is(200).body.contains("<Read>false</Read>"));
    azure.blob_as(CALLER, Method::PUT, target, &[], text).is(202);
    assert!(azure.asks(Method::GET, target, &[]).is(200).body.contains("<Read>true</Read>"));
    azure.blob_as("somebody", Method::GET, target, &[], "").refused_blob(403, "AuthorizationPermissionMismatch");
}
