//! The calls of object_store, which keeps a deployment's state in a bucket: storage's XML API.

use futures::TryStreamExt as _;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use reqwest::Method;
use reqwest::header::HeaderMap;

use super::super::project::TOKEN;
use super::Desk;
use super::objects::BUCKET;
use crate::http::{client, wait};

/// Status, headers and body.
#[track_caller]
fn asked(desk: &Desk, verb: Method, rest: &str, headers: &[(&str, &str)], body: &str) -> (u16, HeaderMap, String) {
    // As object_store writes a bucket's name.
    let url = format!("{}/{}{rest}", desk.google.url(), BUCKET.replace('-', "%2D"));
    let request =
        headers.iter().fold(client().request(verb, url), |request, (name, value)| request.header(*name, *value));
    wait(async {
        let response = request.body(body.to_owned()).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.expect("a body"))
    })
}

const KEY: &str = "/deployments%2Fa%2Fstate%2Ejson";

#[test]
fn a_state_is_written_once_and_then_by_who_saw_it() {
    let desk = Desk::start().with_bucket();
    let put = |condition: &str, body: &str| {
        asked(
            &desk,
            Method::PUT,
            KEY,
            &[("x-goog-if-generation-match", condition), ("content-type", "text/plain")],
            body,
        )
    };
    let (status, first, _) = put("0", "one");
    assert_eq!(status, 200);
    assert_eq!(put("0", "two").0, 412);
    let generation = first["x-goog-generation"].to_str().expect("a number");
    assert_eq!(put(generation, "two").0, 200);
    let (status, _, body) = put(generation, "three");
    assert_eq!(status, 412);
    assert!(body.contains("<Code>PreconditionFailed</Code>"), "{body}");
    let (status, headers, body) = asked(&desk, Method::GET, KEY, &[], "");
    assert_eq!((status, body.as_str()), (200, "two"));
    assert!(headers.contains_key("etag") && headers["last-modified"].to_str().is_ok_and(|time| time.ends_with("GMT")));
    let (status, headers, body) = asked(&desk, Method::HEAD, KEY, &[], "");
    assert_eq!((status, headers["content-length"].to_str().ok(), body.as_str()), (200, Some("3"), ""));
    assert_eq!(asked(&desk, Method::GET, KEY, &[("range", "bytes=1-")], "").2, "wo");
}

#[test]
fn states_are_listed_and_removed() {
    let desk = Desk::start().with_bucket();
    for key in ["/d%2Fa%2Fstate", "/d%2Fa%2F%26", "/d%2Fb%2Fstate"] {
        assert_eq!(asked(&desk, Method::PUT, key, &[], "{}").0, 200);
    }
    let (_, _, list) = asked(&desk, Method::GET, "?list-type=2&prefix=d%2Fa%2F", &[], "");
    assert!(
        list.contains("<Key>d/a/state</Key>") && list.contains("<Key>d/a/&amp;</Key>") && !list.contains("d/b"),
        "{list}"
    );
    let (_, _, folders) = asked(&desk, Method::GET, "?list-type=2&prefix=d%2F&delimiter=%2F", &[], "");
    assert!(folders.contains("<Prefix>d/a/</Prefix>") && !folders.contains("<Key>"), "{folders}");
    assert_eq!(asked(&desk, Method::DELETE, "/d%2Fb%2Fstate", &[], "").0, 204);
    let (status, _, body) = asked(&desk, Method::DELETE, "/d%2Fb%2Fstate", &[], "");
    assert_eq!((status, body.contains("<Code>NoSuchKey</Code>")), (404, true));
    desk.google.set_page(1);
    let (_, _, page) = asked(&desk, Method::GET, "?list-type=2", &[], "");
    assert!(page.contains("<NextContinuationToken>page-1</NextContinuationToken>"), "{page}");
}

fn store(desk: &Desk) -> GoogleCloudStorage {
    let url = desk.google.url();
    // A proxy of the environment would be asked for loopback too; this one is for everything else, and nobody listens there.
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_proxy_url("http://127.0.0.1:9")
        .with_proxy_excludes("127.0.0.1");
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name(BUCKET).with_base_url(&url);
    builder.with_bearer_token(TOKEN).with_client_options(options).build().expect("a store")
}

fn put(store: &GoogleCloudStorage, content: &'static str, mode: PutMode) -> Result<UpdateVersion, Error> {
    let path = Path::from("deployments/a/state.json");
    let put = wait(store.put_opts(&path, content.into(), PutOptions::from(mode)))?;
    Ok(UpdateVersion { e_tag: put.e_tag, version: put.version })
}

#[test]
fn object_store_keeps_a_state_by_compare_and_swap() {
    let desk = Desk::start().with_bucket();
    let store = store(&desk);
    let first = put(&store, "one", PutMode::Create).expect("the first");
    assert!(matches!(put(&store, "again", PutMode::Create), Err(Error::AlreadyExists { .. })));
    put(&store, "two", PutMode::Update(first.clone())).expect("the second");
    assert!(matches!(put(&store, "late", PutMode::Update(first)), Err(Error::Precondition { .. })));
    let path = Path::from("deployments/a/state.json");
    let found = wait(async { store.get(&path).await?.bytes().await }).expect("the state");
    assert_eq!(found, "two");
    desk.google.set_page(1);
    wait(store.put(&Path::from("deployments/b/x"), "y".into())).expect("another");
    let all: Vec<_> = wait(store.list(Some(&Path::from("deployments"))).try_collect()).expect("a list");
    assert_eq!(
        all.iter().map(|it| (it.location.as_ref(), it.size)).collect::<Vec<_>>(),
        [("deployments/a/state.json", 3), ("deployments/b/x", 1)]
    );
    wait(store.delete(&path)).expect("gone");
    assert!(matches!(wait(store.head(&path)), Err(Error::NotFound { .. })));
}
