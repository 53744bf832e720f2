//! The admin API: good calls and bad ones, and a rollout carried from end to end.

use spec::rollout::{RolloutPhase, RolloutReport};
use spec::route::GatewayStatus;

use super::*;

async fn call(house: &House, method: &str, path: &str, body: Value) -> Response {
    house.admin(method, path).json(&body).send().await.unwrap()
}

async fn report_of(house: &House) -> RolloutReport {
    house.admin("GET", "/admin/rollout").send().await.unwrap().json().await.unwrap()
}

/// A rollout that decides as fast as evidence comes.
fn quick() -> Value {
    json!({"stages": ["50%", "100%"], "bake": "0s", "gates": ["error_ratio<20%"], "min_requests": 5, "tick": "10ms"})
}

#[tokio::test]
async fn only_the_token_opens_it() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    for path in ["/admin/status", "/admin/rollout", "/admin/nothing"] {
        for token in [None, Some(KEY), Some("")] {
            let mut request = house.client.get(format!("http://{}{path}", house.admin));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            assert_eq!(error_of(request.send().await.unwrap()).await.0, 401, "{path} {token:?}");
        }
    }
    let public = house.client.get(format!("http://{}/admin/status", house.public)).bearer_auth(TOKEN);
    assert_eq!(public.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn status_tells_what_is_in_force() {
    let candidate = Mock::new(Reply::ok("x")).await;
    let house = House::open(None, Some(&candidate.url())).await;
    house.chat().await;
    candidate.play(Reply::error(500));
    house.chat().await;
    let status: GatewayStatus = house.admin("GET", "/admin/status").send().await.unwrap().json().await.unwrap();
    assert_eq!((status.route_table.generation, status.route_table.candidate.basis_points()), (1, 10_000));
    let seen = VariantStatus { base_url: candidate.url(), attempts: 2, failures: 1, in_flight: 0 };
    assert_eq!(status.variants.into_iter().collect::<Vec<_>>(), [(Variant::Candidate, seen)]);
    assert_eq!(status.rollout, None);
}

#[tokio::test]
async fn bad_calls_are_refused_by_name() {
    let house = House::open(Some("http://127.0.0.1:1/v1"), Some("http://127.0.0.1:1/v1")).await;
    let change = |generation: u64, weight: &str| json!({"expected_generation": generation, "candidate": weight});
    for (method, path, body, status, hint) in [
        ("GET", "/admin/nothing", json!(null), 404, "nothing at /admin/nothing"),
        ("DELETE", "/admin/status", json!(null), 405, "does not take DELETE"),
        ("PUT", "/admin/route-table", change(7, "10%"), 409, "at generation 1, not 7"),
        ("PUT", "/admin/route-table", change(1, "110%"), 400, "candidate: \"110%\" is not a share"),
        ("PUT", "/admin/route-table", json!({"candidate": "10%"}), 400, "missing field `expected_generation`"),
        ("PUT", "/admin/route-table", json!({"weight": "10%"}), 400, "weight: unknown field"),
        ("PUT", "/admin/route-table", json!([1]), 400, "expected"),
        ("GET", "/admin/rollout", json!(null), 404, "no rollout yet"),
        ("POST", "/admin/rollout/pause", json!(null), 404, "no rollout yet"),
        ("POST", "/admin/rollout/resume", json!(null), 404, "no rollout yet"),
        ("POST", "/admin/rollout/abort", json!(null), 404, "no rollout yet"),
        ("POST", "/admin/rollout", json!({"stages": []}), 400, "stages: at least one weight"),
        ("POST", "/admin/rollout", json!({"stages": ["10%"]}), 400, "the last stage is 10%"),
        (
            "POST",
            "/admin/rollout",
            json!({"stages": ["100%"], "gates": ["eror_ratio<5%"]}),
            400,
            "did you mean error_ratio",
        ),
        ("POST", "/admin/rollout", json!({"stages": ["100%"], "bakes": "1s"}), 400, "bakes: unknown field"),
    ] {
        let (given, error) = error_of(call(&house, method, path, body.clone()).await).await;
        assert_eq!(given, status, "{method} {path} {body}: {error:?}");
        assert!(error.message.contains(hint), "{method} {path} {body}: {error:?}");
    }
    let (status, _) = error_of(house.admin("PUT", "/admin/route-table").body("{").send().await.unwrap()).await;
    assert_eq!(status, 400);
    assert_eq!(house.control.plane.table().generation, 1);
    let history: Vec<Value> = house.admin("GET", "/admin/rollout/history").send().await.unwrap().json().await.unwrap();
    assert!(history.is_empty());
}

#[tokio::test]
async fn a_rollout_needs_both_variants() {
    for (baseline, candidate, missing) in [
        (Some("http://127.0.0.1:1/v1"), None, "no candidate is configured"),
        (None, Some("http://127.0.0.1:1/v1"), "no baseline is configured"),
    ] {
        let house = House::open(baseline, candidate).await;
        let (status, error) = error_of(call(&house, "POST", "/admin/rollout", quick()).await).await;
        assert_eq!((status, error.code.as_deref()), (409, Some("variant_missing")));
        assert!(error.message.contains(missing), "{error:?}");
    }
}

#[tokio::test]
async fn a_rollout_owns_the_weights_until_it_is_over() {
    let mock = Mock::new(Reply::ok("x")).await;
    let house = House::open(Some(&mock.url()), Some(&mock.url())).await;
    let mut spec = quick();
    spec["bake"] = "1h".into();
    let answer = call(&house, "POST", "/admin/rollout", spec.clone()).await;
    assert_eq!(answer.status(), 201);
    let report: RolloutReport = answer.json().await.unwrap();
    assert_eq!((report.phase, report.weight.to_string().as_str()), (RolloutPhase::Baking, "50%"));
    assert_eq!(house.control.plane.table().candidate, report.weight);
    assert!(house.metrics().await.contains("dsctl_rollout_stage 1"));

    let generation = house.control.plane.table().generation;
    let change = json!({"expected_generation": generation, "candidate": "10%"});
    for (method, path, body, code) in [
        ("POST", "/admin/rollout", spec, "rollout_active"),
        ("PUT", "/admin/route-table", change, "rollout_owns_weights"),
        ("POST", "/admin/rollout/resume", json!(null), "no_such_move"),
    ] {
        let (status, error) = error_of(call(&house, method, path, body).await).await;
        assert_eq!((status, error.code.as_deref()), (409, Some(code)), "{error:?}");
    }
    let mut config = house.read_config();
    config["salt"] = "pepper".into();
    house.write_config(&config);
    let (status, error) = error_of(call(&house, "POST", "/admin/reload", json!(null)).await).await;
    assert_eq!(status, 422);
    assert!(error.message.contains("salt: ") && error.message.contains("a rollout is going on"), "{error:?}");

    for (path, phase) in [
        ("/admin/rollout/pause", RolloutPhase::Paused),
        ("/admin/rollout/resume", RolloutPhase::Baking),
        ("/admin/rollout/abort", RolloutPhase::Aborted),
    ] {
        let answer = call(&house, "POST", path, json!(null)).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.json::<RolloutReport>().await.unwrap().phase, phase);
    }
    assert_eq!(house.control.plane.table().candidate.basis_points(), 0);
    assert!(house.metrics().await.contains("dsctl_rollout_stage 0"));
    let (status, _) = error_of(call(&house, "POST", "/admin/rollout/abort", json!(null)).await).await;
    assert_eq!(status, 409);
    let history: Vec<Value> = house.admin("GET", "/admin/rollout/history").send().await.unwrap().json().await.unwrap();
    let kinds: Vec<&str> = history.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"started") && kinds.contains(&"paused") && kinds.last() == Some(&"aborted"), "{kinds:?}");
}

#[tokio::test]
async fn a_healthy_candidate_is_promoted_and_a_failing_one_is_rolled_back_with_every_request_answered() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    for (reply, phase, weight) in
        [(Reply::ok("candidate"), RolloutPhase::Promoted, "100%"), (Reply::error(500), RolloutPhase::RolledBack, "0%")]
    {
        let candidate = Mock::new(reply).await;
        let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
        assert_eq!(call(&house, "POST", "/admin/rollout", quick()).await.status(), 201);
        while !report_of(&house).await.phase.is_over() {
            assert_eq!(house.chat().await.status(), 200);
        }
        let report = report_of(&house).await;
        assert_eq!(report.phase, phase, "{}", report.reason);
        assert_eq!(house.control.plane.table().candidate.to_string(), weight);
        assert!(!house.metrics().await.contains("dsctl_rollout_decisions_total{verdict=\"hold\"} 0\n"));
    }
}

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart_with_the_same_weight() {
    let mock = Mock::new(Reply::ok("x")).await;
    let house = House::open(Some(&mock.url()), Some(&mock.url())).await;
    let mut spec = quick();
    spec["bake"] = "1h".into();
    assert_eq!(call(&house, "POST", "/admin/rollout", spec).await.status(), 201);
    let before = report_of(&house).await;
    let config = house.read_config();
    let folder = house.close().await;
    let house = House::open_in(folder, &config).await.unwrap();
    let after = report_of(&house).await;
    assert_eq!((after.id, after.phase, after.weight), (before.id, RolloutPhase::Baking, before.weight));
    assert_eq!(house.control.plane.table().candidate, before.weight);
    assert_eq!(call(&house, "POST", "/admin/rollout/abort", json!(null)).await.status(), 200);
}

#[tokio::test]
async fn a_controller_that_can_not_keep_its_journal_stops_no_request() {
    let mock = Mock::new(Reply::ok("x")).await;
    let house = House::open(Some(&mock.url()), Some(&mock.url())).await;
    let mut spec = quick();
    spec["min_requests"] = 1.into();
    spec["bake"] = "1h".into();
    assert_eq!(call(&house, "POST", "/admin/rollout", spec).await.status(), 201);
    let data = house.folder.path().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "in the way").unwrap();
    let (status, error) = error_of(call(&house, "POST", "/admin/rollout/abort", json!(null)).await).await;
    assert_eq!((status, error.kind.as_str()), (500, "server_error"), "{error:?}");
    for _ in 0..20 {
        assert_eq!(house.chat().await.status(), 200);
    }
    let report = report_of(&house).await;
    assert_eq!((report.phase, report.weight.to_string().as_str()), (RolloutPhase::Baking, "50%"));
    assert_eq!(house.control.plane.table().candidate, report.weight, "the last table stays in force");
}
