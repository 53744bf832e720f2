//! What changes while requests go on: weights, configuration, the process itself.

use std::sync::atomic::{AtomicBool, Ordering};

use rollout::ports::Traffic;

use super::*;
use crate::body::RequestBody;
use crate::metrics::Metrics;
use crate::plane::DataPlane;
use crate::proxy::{Caller, ClientRequest, Endpoint, answer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_and_configuration_change_under_load_without_a_failed_request() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let candidate = Mock::new(Reply::stream(&["data: {}\n\ndata: [DONE]\n\n"])).await;
    let house = Arc::new(House::open(Some(&baseline.url()), Some(&candidate.url())).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (house, is_over) = (house.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut answers = 0_u32;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = house.chat().await;
                    assert_eq!(answer.status(), 200);
                    assert!(!answer.text().await.unwrap().is_empty());
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for percent in (0..=100).step_by(5) {
        house.weigh(&format!("{percent}%")).await;
        let answer = house.admin("POST", "/admin/reload").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    is_over.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap();
    }
    assert!(answers > 0);
    let (one, other) = (house.counts(Variant::Baseline), house.counts(Variant::Candidate));
    assert_eq!(one.attempts + other.attempts, u64::from(answers));
    assert_eq!((one.failures, other.failures, one.in_flight, other.in_flight), (0, 0, 0, 0));
    assert_eq!(house.control.plane.table().generation, 22);
}

#[tokio::test]
async fn the_data_plane_is_the_traffic_that_the_controller_relies_on() {
    // Not served: the controller of a running gateway would take the observations.
    let mock = Mock::new(Reply::ok("x")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), Some(&mock.url()), Some(&mock.url()));
    let path = folder.path().join("gateway.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let settings = Settings::load(&path, None).unwrap();
    let store = Arc::new(engine::store::DirectoryStore::new(folder.path().join("data")));
    let plane = Arc::new(DataPlane::open(settings, store, None, Arc::new(Metrics::new().unwrap())).await.unwrap());
    let ask = async || {
        let body = RequestBody::parse("{\"model\":\"gpt\"}".into()).unwrap();
        let (caller, headers) = (Caller::default(), http::HeaderMap::new());
        let request = ClientRequest { endpoint: Endpoint::Completions, caller, headers, body };
        assert_eq!(answer(&plane, request).await.status(), 200);
    };
    rollout::conformance::traffic_conforms(&*plane, ask).await;
}

#[tokio::test]
async fn the_candidate_is_probed_and_scraped_at_its_own_addresses() {
    let ready = Mock::new(Reply { pieces: vec![b"up 1\n".to_vec()], ..Reply::ok("") }).await;
    let house = House::open_with(Some("http://127.0.0.1:1/v1"), Some("http://127.0.0.1:1/v1"), |config| {
        config["variants"]["candidate"]["ready_url"] = format!("{}/ready", ready.url()).into();
        config["variants"]["candidate"]["metrics_url"] = format!("{}/metrics", ready.url()).into();
    })
    .await;
    let plane = &house.control.plane;
    plane.probe_candidate().await.unwrap();
    assert_eq!(plane.scrape_candidate().await.unwrap(), "up 1\n");
    let heads: Vec<String> = ready.seen().into_iter().map(|seen| seen.head).collect();
    assert!(heads[0].starts_with("get /v1/ready") && heads[1].starts_with("get /v1/metrics"), "{heads:?}");
    ready.play(Reply::error(503));
    let error = plane.probe_candidate().await.unwrap_err().to_string();
    assert!(error.contains("/v1/ready answered 503"), "{error}");
    let error = plane.scrape_candidate().await.unwrap_err().to_string();
    assert!(error.contains("/v1/metrics answered 503"), "{error}");
}

#[tokio::test]
async fn what_was_in_force_is_in_force_after_a_restart() {
    let mock = Mock::new(Reply::ok("x")).await;
    let house = House::open(Some(&mock.url()), Some(&mock.url())).await;
    house.weigh("37.5%").await;
    let config = house.read_config();
    let folder = house.close().await;
    let house = House::open_in(folder, &config).await.unwrap();
    let table = house.control.plane.table();
    assert_eq!((table.generation, table.candidate.to_string().as_str()), (2, "37.5%"));
    assert!(house.metrics().await.contains("dsctl_gateway_route_table_generation 2"));
}

#[tokio::test]
async fn a_data_folder_has_one_gateway() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    let error = House::open_in(house.folder.clone(), &house.read_config()).await.err().unwrap();
    assert!(error.to_string().contains("used by another dsgate"), "{error}");
}

#[tokio::test]
async fn a_new_configuration_and_new_keys_are_taken_up_whole() {
    let (before, after) = (Mock::new(Reply::ok("x")).await, Mock::new(Reply::ok("x")).await);
    let house = House::open(None, Some(&before.url())).await;
    let mut config = house.read_config();
    config["variants"]["candidate"]["base_url"] = after.url().into();
    house.write_config(&config);
    std::fs::write(house.folder.path().join("keys"), "other-key\n").unwrap();
    assert_eq!(house.admin("POST", "/admin/reload").send().await.unwrap().status(), 200);
    assert_eq!(house.chat().await.status(), 401);
    let answer = house.client.post(format!("http://{}/v1/completions", house.public)).bearer_auth("other-key");
    assert_eq!(answer.body("{\"model\":\"x\"}").send().await.unwrap().status(), 200);
    assert_eq!((before.seen().len(), after.seen().len()), (0, 1));
}

#[tokio::test]
async fn a_bad_configuration_leaves_the_last_good_one_in_force() {
    let candidate = Mock::new(Reply::ok("x")).await;
    let house = House::open(None, Some(&candidate.url())).await;
    let good = house.read_config();
    let mut bad_url = good.clone();
    bad_url["variants"]["candidate"]["base_url"] = "nowhere".into();
    let mut no_variant = good.clone();
    no_variant["variants"] = json!({});
    let mut moved = good.clone();
    moved["listen"] = "127.0.0.1:4".into();
    let mut no_keys = good.clone();
    no_keys["api_keys_file"] = "/nowhere/keys".into();
    for (bad, hint) in [
        (bad_url, "variants.candidate.base_url: not a URL"),
        (no_variant, "variants: at least one"),
        (moved, "listen: changing it from 127.0.0.1:0 to 127.0.0.1:4 needs a restart"),
        (no_keys, "api_keys_file: can't read /nowhere/keys"),
    ] {
        house.write_config(&bad);
        let (status, error) = error_of(house.admin("POST", "/admin/reload").send().await.unwrap()).await;
        assert_eq!((status, error.code.as_deref()), (422, Some("config_refused")));
        assert!(error.message.contains(hint) && error.message.contains("stays in force"), "{error:?}");
        assert!(house.metrics().await.contains("dsctl_gateway_config_last_reload_successful 0"));
        assert_eq!(house.chat().await.status(), 200);
    }
    house.write_config(&good);
    assert_eq!(house.admin("POST", "/admin/reload").send().await.unwrap().status(), 200);
    assert!(house.metrics().await.contains("dsctl_gateway_config_last_reload_successful 1"));
}

#[tokio::test]
async fn a_baseline_that_comes_or_goes_leaves_the_table_alone() {
    let (baseline, candidate) = (Mock::new(Reply::ok("b")).await, Mock::new(Reply::ok("c")).await);
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    let with_both = house.read_config();
    let mut alone = with_both.clone();
    alone["variants"].as_object_mut().unwrap().remove("baseline");
    for (config, expected, share) in [(&alone, "candidate", 1), (&with_both, "baseline", 0)] {
        house.write_config(config);
        assert_eq!(house.admin("POST", "/admin/reload").send().await.unwrap().status(), 200);
        assert_eq!(variant_of(&house.chat().await), expected);
        let table = house.control.plane.table();
        assert_eq!((table.generation, table.candidate.basis_points()), (1, 0));
        let line = format!("dsctl_rollout_weight{{variant=\"candidate\"}} {share}\n");
        assert!(house.metrics().await.contains(&line));
    }
}

#[tokio::test]
async fn another_salt_is_another_generation() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    let mut config = house.read_config();
    config["salt"] = "pepper".into();
    house.write_config(&config);
    assert_eq!(house.admin("POST", "/admin/reload").send().await.unwrap().status(), 200);
    let table = house.control.plane.table();
    assert_eq!((table.generation, table.salt.as_str()), (2, "pepper"));
}

#[tokio::test]
async fn a_stop_lets_answers_under_way_finish() {
    let candidate = Mock::new(Reply::stream(&["data: {\"n\":1}\n\n"]).end(End::Stall)).await;
    let house = House::open_with(None, Some(&candidate.url()), |config| {
        config["limits"]["idle_timeout"] = "500ms".into();
    })
    .await;
    let mut answer = house.chat().await;
    let first = answer.chunk().await.unwrap().unwrap();
    assert_eq!(&first[..], b"data: {\"n\":1}\n\n");
    house.stop.cancel();
    let rest = answer.text().await.unwrap();
    assert!(rest.contains("stalled"), "{rest}");
    house.serving.await.unwrap();
    assert!(TcpStream::connect(house.public).await.is_err());
    assert!(house.control.plane.is_draining());
}

#[tokio::test]
async fn a_gateway_that_drains_is_not_ready() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    assert_eq!(house.get("/ready").await.status(), 200);
    house.control.plane.drain();
    let (status, error) = error_of(house.get("/ready").await).await;
    assert_eq!((status, error.code.as_deref()), (503, Some("draining")));
    assert_eq!(house.get("/health").await.status(), 200);
}
