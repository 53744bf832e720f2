//! What scripts read: one JSON value on stdout with the fields that are promised, and exit codes that say what a plan would do.

use serde_json::{Value, json};
use tests::aws::cloud::{Cloud, REGION};

#[track_caller]
fn has(report: &Value, fields: &[&str]) {
    for field in fields {
        assert!(report.get(field).is_some(), "no {field} in {report}");
    }
}

#[test]
fn each_command_gives_one_value_with_the_fields_that_are_promised() {
    let cloud = Cloud::start();
    let home = cloud.home();
    let plan = home.dsctl(&["plan", "--json", "--detailed-exitcode"]).exits(2).json();
    has(&plan, &["deployment", "made_from", "changes", "cloud"]);
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 23);
    for change in changes {
        has(change, &["address", "action", "reason", "summary", "before", "after", "disk_bytes", "monthly_usd"]);
        assert_eq!((&change["action"], &change["before"]), (&json!("create"), &Value::Null), "{change}");
    }
    let on = &plan["cloud"];
    has(on, &["caller", "image", "image_source", "candidates", "price_source", "around_source", "egress_gb", "notes"]);
    assert_eq!((&on["cloud"], &on["account"], &on["region"]), (&json!("aws"), &json!("123456789012"), &json!(REGION)));
    assert_eq!(on["quota"]["code"], "L-DB2E81BA");
    has(&on["quota"], &["name", "unit", "need", "limit", "used", "request"]);
    has(&on["monthly"], &["parts", "total"]);
    let sum: f64 = changes.iter().map(|change| change["monthly_usd"].as_f64().unwrap()).sum();
    let total: f64 = on["monthly"]["total"]
        .as_str()
        .map_or_else(|| on["monthly"]["total"].as_f64(), |text| text.parse().ok())
        .unwrap();
    assert!((sum - total).abs() < 0.01, "the parts of the plan are {sum}, the month {total}");
    home.dsctl(&["plan", "--summary", "--detailed-exitcode"])
        .exits(2)
        .says("23 to create, 0 to update, 0 to delete; $");

    let up = home.dsctl(&["up", "--yes", "--no-wait", "--json"]).exits(0).json();
    has(&up, &["deployment", "changed", "changes", "endpoint", "api_key", "hourly_usd", "monthly_usd", "seconds"]);
    assert_eq!(
        (&up["cloud"], &up["region"], &up["model"]),
        (&json!("aws"), &json!(REGION), &json!("deepseek-r1-distill-llama-70b"))
    );
    assert_eq!((&up["changed"], &up["ready"]), (&json!(true), &json!(false)));
    assert_eq!(up["changes"].as_array().unwrap().len(), 23);
    assert!((up["monthly_usd"].as_f64().unwrap() - total).abs() < 0.01, "{up}");
    let key = up["api_key"].as_str().unwrap();
    assert_eq!(key, format!("s3://{}/secrets/api-key", home.id("bucket.main")));
    let again = home.dsctl(&["up", "--yes", "--no-wait", "--json"]).exits(0).json();
    assert_eq!((&again["changed"], &again["changes"]), (&json!(false), &json!([])));

    let plan = home.dsctl(&["plan", "--json", "--detailed-exitcode"]).exits(0).json();
    assert!(plan["changes"].as_array().unwrap().iter().all(|change| change["action"] == "no-op"), "{plan}");
    home.dsctl(&["plan", "--summary"]).exits(0).says("No changes");
    let drift = home.dsctl(&["drift", "--json", "--detailed-exitcode"]).exits(0).json();
    assert_eq!(drift, json!({"deployment": "default", "drift": [], "ignored": 0}));
    let status = home.dsctl(&["status", "--json"]).exits(1).json();
    has(&status, &["deployment", "cloud", "region", "resources", "hourly_usd", "monthly_usd", "is_settled", "host"]);
    assert_eq!((&status["resources"], &status["is_settled"]), (&json!(23), &json!(true)));
    cloud.report_ready(&home);
    let up = home.dsctl(&["up", "--yes", "--json"]).exits(0).json();
    assert_eq!((&up["ready"], &up["changed"]), (&json!(true), &json!(false)));
    let status = home.dsctl(&["status", "--json"]).exits(0).json();
    assert_eq!(status["host"]["status"]["generation"], status["host"]["generation"]);

    let failed = home.dsctl(&["up", "--yes", "--no-wait", "--json", "--port", "0"]).exits(2).json();
    assert_eq!(failed["error"]["kind"], "usage");
    let down = home.dsctl(&["down", "--yes", "--json"]).exits(0).json();
    assert_eq!((&down["removed"], &down["deployment"]), (&json!(23), &json!("default")));
    let saved = down["saved_hourly_usd"].as_f64().unwrap();
    assert!((saved - total / 730.0).abs() < 0.01, "{down}");
}

#[test]
fn prices_and_zones_may_be_asked_for_just_now() {
    let cloud = Cloud::start();
    let home = cloud.home();
    cloud.overlay.set_price("g6e.12xlarge", REGION, "9.8765000000");
    let words = ["gpus", "--live", "--cloud", "aws", "--region", REGION, "--model", "70b-int8", "--all", "--json"];
    let live = home.dsctl(&words).exits(0).json();
    let row = |report: &Value| {
        let rows = report["machines"].as_array().unwrap();
        rows.iter().find(|row| row["machine_type"] == "g6e.12xlarge").cloned().expect("the machine")
    };
    assert_eq!(
        (&row(&live)["hourly_usd"], &row(&live)["price_source"]),
        (&json!(9.8765), &json!("asked of the cloud just now"))
    );
    let dated = home.dsctl(&words.into_iter().filter(|word| *word != "--live").collect::<Vec<_>>()).exits(0).json();
    assert_eq!(row(&dated)["hourly_usd"], json!(10.49264), "the catalogue's, without a call");
    assert!(cloud.proxy.calls().iter().all(|call| !call.mutating));
    home.dsctl(&["gpus", "--live", "--cloud", "aws", "--region", "eu-*"]).exits(2).says("without *");
}
