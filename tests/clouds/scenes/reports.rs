//! What scripts read: one JSON value on stdout with the fields that are promised, and exit codes that say what a plan would do.

use serde_json::{Value, json};

use super::DOWN;
use crate::crash::Ground;

#[track_caller]
fn has(report: &Value, fields: &[&str]) {
    for field in fields {
        assert!(report.get(field).is_some(), "no {field} in {report}");
    }
}

#[track_caller]
fn usd(value: &Value) -> f64 {
    value.as_str().map_or_else(|| value.as_f64(), |text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

/// Each command gives one value, and all of them tell of the same things at the same price.
pub fn agree<G: Ground>(region: &str) {
    let ground = G::start();
    let plan = ground.run(&["plan", "--json", "--detailed-exitcode"]).exits(2).json();
    has(&plan, &["deployment", "made_from", "changes", "cloud"]);
    let changes = plan["changes"].as_array().unwrap();
    for change in changes {
        has(change, &["address", "action", "reason", "summary", "before", "after", "disk_bytes", "monthly_usd"]);
        assert_eq!((&change["action"], &change["before"]), (&json!("create"), &Value::Null), "{change}");
    }
    let on = &plan["cloud"];
    has(on, &["account", "caller", "image", "image_source", "candidates", "price_source", "around_source", "notes"]);
    assert_eq!((&on["cloud"], &on["region"]), (&json!(G::CLOUD), &json!(region)));
    has(&on["quota"], &["code", "name", "unit", "need", "limit", "used", "request"]);
    has(&on["monthly"], &["parts", "total"]);
    let sum: f64 = changes.iter().map(|change| change["monthly_usd"].as_f64().unwrap()).sum();
    let total = usd(&on["monthly"]["total"]);
    assert!((sum - total).abs() < 0.01, "the parts of the plan are {sum}, the month {total}");
    let count = changes.len();
    let summary = format!("{count} to create, 0 to update, 0 to delete; $");
    ground.run(&["plan", "--summary", "--detailed-exitcode"]).exits(2).says(&summary);
    assert_eq!(ground.run(&["status", "--json"]).exits(6).json()["error"]["kind"], "no-such-deployment");
    of_what_was_made(&ground, count, total);
    of_what_is_gone(&ground, count, total);
}

fn of_what_was_made<G: Ground>(ground: &G, count: usize, total: f64) {
    let up = ground.run(&["up", "--yes", "--no-wait", "--json"]).exits(0).json();
    has(&up, &["deployment", "changed", "changes", "endpoint", "api_key", "hourly_usd", "monthly_usd", "seconds"]);
    assert_eq!((&up["changed"], &up["ready"]), (&json!(true), &json!(false)));
    assert_eq!(up["changes"].as_array().map(Vec::len), Some(count));
    assert!((up["monthly_usd"].as_f64().unwrap() - total).abs() < 0.01, "{up}");
    assert!(up["api_key"].as_str().unwrap().ends_with("secrets/api-key"), "{up}");
    let again = ground.run(&["up", "--yes", "--no-wait", "--json"]).exits(0).json();
    assert_eq!((&again["changed"], &again["changes"]), (&json!(false), &json!([])));
    let plan = ground.run(&["plan", "--json", "--detailed-exitcode"]).exits(0).json();
    assert!(plan["changes"].as_array().unwrap().iter().all(|change| change["action"] == "no-op"), "{plan}");
    let drift = ground.run(&["drift", "--json", "--detailed-exitcode"]).exits(0).json();
    assert_eq!(drift, json!({"deployment": "default", "drift": [], "ignored": 0}));
    let status = ground.run(&["status", "--json"]).exits(1).json();
    has(&status, &["deployment", "cloud", "region", "resources", "hourly_usd", "monthly_usd", "is_settled", "host"]);
    assert_eq!((&status["resources"], &status["is_settled"]), (&json!(count), &json!(true)));
    assert!((status["hourly_usd"].as_f64().unwrap() - total / 730.0).abs() < 0.01, "{status}");
}

fn of_what_is_gone<G: Ground>(ground: &G, count: usize, total: f64) {
    let failed = ground.run(&["up", "--yes", "--no-wait", "--json", "--port", "0"]).exits(2).json();
    assert_eq!(failed["error"]["kind"], "usage");
    let down = ground.run(&[DOWN, &["--json"]].concat()).exits(0).json();
    assert_eq!((&down["removed"], &down["deployment"]), (&json!(count), &json!("default")));
    let saved = down["saved_hourly_usd"].as_f64().unwrap();
    assert!((saved - total / 730.0).abs() < 0.01, "{down}");
}
