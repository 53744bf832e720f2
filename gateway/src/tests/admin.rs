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
        ("POST", "/admin/rollout/approve", json!(null), "nothing_to_approve"),
        ("POST", "/admin/rollout/undo", json!(null), "rollout_active"),
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

    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("variants.baseline", |variants| drop(variants.as_object_mut().unwrap().remove("baseline"))),
        ("variants.candidate.base_url", |variants| variants["candidate"]["base_url"] = "http://127.0.0.1:9/v1".into()),
        ("variants.candidate.models", |variants| variants["candidate"]["models"] = json!({"gpt": "r2"})),
        ("variants.candidate.default_model", |variants| variants["candidate"]["default_model"] = "r2".into()),
    ];
    config["salt"] = "salt".into();
    for (field, change) in changes {
        let mut changed = config.clone();
        change(&mut changed["variants"]);
        house.write_config(&changed);
        let (status, error) = error_of(call(&house, "POST", "/admin/reload", json!(null)).await).await;
        assert_eq!(status, 422);
        assert!(error.message.contains(&format!("{field}: ")) && error.message.contains("going on"), "{error:?}");
        assert_eq!(house.chat().await.status(), 200);
    }
    config["limits"]["body_bytes"] = 20_000.into();
    config["variants"]["baseline"]["models"] = json!({"gpt": "gpt-5"});
    house.write_config(&config);
    assert_eq!(
        call(&house, "POST", "/admin/reload", json!(null)).await.status(),
        200,
        "what is not steered may change"
    );

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
    let undone: RolloutReport = call(&house, "POST", "/admin/rollout/undo", json!(null)).await.json().await.unwrap();
    assert_eq!((undone.phase, undone.weight.to_string().as_str()), (RolloutPhase::Baking, "50%"));
    assert_eq!(call(&house, "POST", "/admin/rollout/abort", json!(null)).await.status(), 200);
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

/// Starts a rollout and stops the gateway; gives the folder and the configuration.
async fn stopped_in_a_rollout(mock: &Mock) -> (Arc<tempfile::TempDir>, Value) {
    let house = House::open(Some(&mock.url()), Some(&mock.url())).await;
    let mut spec = quick();
    spec["bake"] = "1h".into();
    assert_eq!(call(&house, "POST", "/admin/rollout", spec).await.status(), 201);
    let config = house.read_config();
    (house.close().await, config)
}

#[tokio::test]
async fn a_journal_that_can_not_be_read_stops_no_request_and_is_read_again() {
    let mock = Mock::new(Reply::ok("x")).await;
    let (folder, config) = stopped_in_a_rollout(&mock).await;
    let rollouts = folder.path().join("data/rollouts");
    let id = std::fs::read_dir(&rollouts).unwrap().next().unwrap().unwrap().file_name();
    let record = rollouts.join(&id).join("000002.json");
    let good = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    let house = House::open_in(folder, &config).await.unwrap();
    let table = house.control.plane.table();
    assert_eq!((table.candidate.to_string().as_str(), house.chat().await.status().as_u16()), ("50%", 200));
    let change = |weight: &str| json!({"expected_generation": table.generation, "candidate": weight});
    for (method, path, body) in [
        ("GET", "/admin/rollout", json!(null)),
        ("GET", "/admin/rollout/history", json!(null)),
        ("POST", "/admin/rollout", quick()),
        ("POST", "/admin/rollout/abort", json!(null)),
        ("PUT", "/admin/route-table", change("60%")),
    ] {
        let (status, error) = error_of(call(&house, method, path, body).await).await;
        assert_eq!((status, error.code.as_deref()), (500, Some("rollout_unreadable")), "{method} {path}: {error:?}");
        assert!(error.message.contains("000002.json"), "{error:?}");
    }
    assert_eq!(call(&house, "GET", "/admin/status", json!(null)).await.status(), 200);
    assert_eq!(call(&house, "PUT", "/admin/route-table", change("0%")).await.status(), 200, "away from the candidate");

    std::fs::write(&record, good).unwrap();
    let report = report_of(&house).await;
    assert_eq!((report.id.as_str(), report.phase), (id.to_str().unwrap(), RolloutPhase::Baking));
    assert_eq!(call(&house, "POST", "/admin/rollout/abort", json!(null)).await.status(), 200);
    assert_eq!(house.control.plane.table().candidate.basis_points(), 0);
}

#[tokio::test]
async fn a_rollout_that_lost_a_variant_holds_until_it_is_back() {
    let mock = Mock::new(Reply::ok("x")).await;
    let (folder, config) = stopped_in_a_rollout(&mock).await;
    for variant in ["baseline", "candidate"] {
        let mut alone = config.clone();
        alone["variants"].as_object_mut().unwrap().remove(variant);
        let house = House::open_in(folder.clone(), &alone).await.unwrap();
        // More ticks than a candidate that can't be probed would survive.
        let decisions = "dsctl_rollout_decisions_total{verdict=\"hold\"} ";
        while !house
            .metrics()
            .await
            .lines()
            .any(|line| line.strip_prefix(decisions).is_some_and(|count| count.parse::<u64>().unwrap() > 10))
        {
            assert_eq!(house.chat().await.status(), 200);
        }
        let report = report_of(&house).await;
        assert_eq!(report.phase, RolloutPhase::Baking, "{}", report.reason);
        assert!(report.reason.starts_with(&format!("holds: no {variant} is configured")), "{}", report.reason);
        assert!(report.gates.iter().all(|gate| gate.samples == 0), "{:?}", report.gates);
        house.write_config(&config);
        assert_eq!(call(&house, "POST", "/admin/reload", json!(null)).await.status(), 200);
        assert!(!report_of(&house).await.reason.contains("holds"));
        house.close().await;
    }
}

#[tokio::test]
async fn a_weight_between_the_stages_is_refused() {
    let house = House::open(Some("http://127.0.0.1:1/v1"), Some("http://127.0.0.1:1/v1")).await;
    house.weigh("20%").await;
    let (status, error) = error_of(call(&house, "POST", "/admin/rollout", quick()).await).await;
    assert_eq!((status, error.code.as_deref()), (409, Some("between_stages")));
    assert!(error.message.contains("20%") && error.message.contains("50%, 100%"), "{error:?}");
}

#[tokio::test]
async fn an_incompatible_candidate_is_rolled_back_and_its_clients_are_answered() {
    let baseline = Mock::new(Reply::ok("baseline")).await;
    let candidate = Mock::new(Reply::error(400)).await;
    let house = House::open(Some(&baseline.url()), Some(&candidate.url())).await;
    assert_eq!(call(&house, "POST", "/admin/rollout", quick()).await.status(), 201);
    while !report_of(&house).await.phase.is_over() {
        assert_eq!(house.chat().await.status(), 200);
    }
    assert_eq!(report_of(&house).await.phase, RolloutPhase::RolledBack);
}

#[tokio::test]
async fn an_outage_of_the_baseline_does_not_promote_the_candidate() {
    let candidate = Mock::new(Reply::ok("candidate")).await;
    let house = House::open(Some(&nobody().await), Some(&candidate.url())).await;
    let mut spec = quick();
    spec["min_requests"] = 40.into();
    spec["bake"] = "1h".into();
    assert_eq!(call(&house, "POST", "/admin/rollout", spec).await.status(), 201);
    for _ in 0..40 {
        assert_eq!(house.chat().await.status(), 200);
    }
    // All forty were answered by the candidate, and about half of them are the stage's.
    let samples = async || report_of(&house).await.gates.first().map_or(0, |gate| gate.samples);
    while samples().await < 15 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.counts(Variant::Candidate).attempts, 40);
    assert!(samples().await < 25, "{}", samples().await);
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
    assert_eq!(house.control.plane.table().candidate.basis_points(), 0, "away, though nobody can write it down");
    for _ in 0..20 {
        assert_eq!(house.chat().await.status(), 200);
    }
    let report = report_of(&house).await;
    assert_eq!((report.phase, report.weight.to_string().as_str()), (RolloutPhase::Baking, "0%"));
    assert!(report.reason.starts_with("the candidate is at 0% (asked for by hand)"), "{}", report.reason);
    assert_eq!(house.control.plane.table().candidate.basis_points(), 0);
}

#[tokio::test]
async fn signs_of_life_need_no_token_here() {
    let house = House::open(None, Some("http://127.0.0.1:1/v1")).await;
    for path in ["/health", "/ready", "/metrics"] {
        let answer = house.client.get(format!("http://{}{path}", house.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let answer = house.client.get(format!("http://{}/admin/status", house.admin)).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}
