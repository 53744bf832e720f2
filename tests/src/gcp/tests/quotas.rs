//! Quotas: told where Google tells them, held to everywhere.

use serde_json::{Value, json};

use super::{Desk, MACHINE, compute, instance, instances, network, spot};

fn quota(of: &Value, metric: &str) -> Value {
    let all = of["quotas"].as_array().expect("quotas");
    all.iter().find(|quota| quota["metric"] == metric).cloned().unwrap_or_default()
}

#[test]
fn what_is_used_counts() {
    let desk = Desk::start().with_network();
    desk.made(&instances(), &instance("one", MACHINE));
    desk.made(&instances(), &spot("two", "g2-standard-24"));
    let region = desk.get(&compute("regions/us-central1"));
    let used = |metric: &str| quota(&region, metric)["usage"].as_f64();
    assert_eq!((used("NVIDIA_L4_GPUS"), used("PREEMPTIBLE_NVIDIA_L4_GPUS")), (Some(1.0), Some(2.0)));
    // Without a quota of their own, the processors of spot machines count with the others.
    assert_eq!((used("CPUS"), used("INSTANCES"), used("SSD_TOTAL_GB")), (Some(28.0), Some(2.0), Some(400.0)));
    let project = desk.get(compute("").trim_end_matches('/'));
    assert_eq!(quota(&project, "GPUS_ALL_REGIONS")["usage"], 3.0);
    assert_eq!(quota(&project, "NETWORKS")["usage"], 1.0);
    let elsewhere = desk.get(&compute("regions/europe-west4"));
    assert_eq!(quota(&elsewhere, "NVIDIA_L4_GPUS")["usage"], 0.0);
    desk.done("DELETE", &format!("{}/one", instances()), None);
    assert_eq!(quota(&desk.get(&compute("regions/us-central1")), "NVIDIA_L4_GPUS")["usage"], 0.0);
}

#[test]
fn more_than_there_is_ends_the_operation() {
    let desk = Desk::start().with_network();
    desk.google.set_quota("us-central1", "NVIDIA_L4_GPUS", 1.0);
    desk.made(&instances(), &instance("one", MACHINE));
    let ended = desk.ended(&desk.post(&instances(), &instance("two", MACHINE)));
    assert_eq!((&ended["httpErrorStatusCode"], &ended["httpErrorMessage"]), (&json!(403), &json!("FORBIDDEN")));
    let error = &ended["error"]["errors"][0];
    assert_eq!(error["code"], "QUOTA_EXCEEDED");
    assert_eq!(error["message"], "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1.");
    assert_eq!(error["errorDetails"][0]["quotaInfo"]["limitName"], "NVIDIA-L4-GPUS-per-project-region");
    desk.google.set_quota("us-central1", "PREEMPTIBLE_NVIDIA_L4_GPUS", 0.0);
    let ended = desk.ended(&desk.post(&instances(), &spot("two", MACHINE)));
    assert!(ended["error"]["errors"][0]["message"].as_str().is_some_and(|text| text.contains("'NVIDIA_L4_GPUS'")));
    desk.google.set_quota("us-central1", "NVIDIA_L4_GPUS", 2.0);
    desk.google.set_quota("global", "GPUS_ALL_REGIONS", 1.0);
    let ended = desk.ended(&desk.post(&instances(), &instance("two", MACHINE)));
    let wanted = "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 1.0 globally.";
    assert_eq!(ended["error"]["errors"][0]["message"], wanted);
}

#[test]
fn of_new_accelerators_google_says_nothing_and_holds_to_it() {
    let desk = Desk::start().with_network();
    assert_eq!(quota(&desk.get(&compute("regions/us-central1")), "NVIDIA_H100_GPUS"), Value::Null);
    desk.google.set_quota("us-central1", "NVIDIA_H100_GPUS", 0.0);
    let ended = desk.ended(&desk.post(&instances(), &instance("one", "a3-highgpu-8g")));
    assert_eq!(ended["error"]["errors"][0]["code"], "QUOTA_EXCEEDED");
}

#[test]
fn networks_are_refused_at_once() {
    let desk = Desk::start();
    desk.google.set_quota("global", "NETWORKS", 1.0);
    desk.made(&compute("global/networks"), &network("one"));
    let error =
        desk.ask("POST", &compute("global/networks"), Some(&network("two"))).has_status(403).json()["error"].clone();
    assert_eq!(
        (&error["errors"][0]["reason"], &error["errors"][0]["domain"]),
        (&json!("quotaExceeded"), &json!("usageLimits"))
    );
    assert_eq!(error["message"], "Quota 'NETWORKS' exceeded.  Limit: 1.0 globally.");
}
