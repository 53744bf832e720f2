//! What carries dsctl's mark and nobody here knows of, in whatever region.

use serde_json::Value;

use super::{DOWN, UP};
use crate::crash::Ground;

const LOOK: [&str; 4] = ["orphans", "--cloud", "CLOUD", "--detailed-exitcode"];

fn look<G: Ground>() -> [&'static str; 4] {
    LOOK.map(|word| if word == "CLOUD" { G::CLOUD } else { word })
}

/// What is found, with what `orphans` exits with.
#[track_caller]
fn rows<G: Ground>(ground: &G, code: i32) -> Vec<Value> {
    let rows = ground.run(&[&look::<G>()[..], &["--json"]].concat()).exits(code).json();
    rows.as_array().unwrap().clone()
}

/// A deployment in another region whose record went with somebody's laptop, beside one that is known: it is told, with
/// what costs money, and nobody touches it.
pub fn of_a_lost_record<G: Ground>(elsewhere: &str, kinds: &[&str]) {
    let ground = G::start();
    ground.run(&look::<G>()).exits(0).says("Nothing carries dsctl's tags.");
    ground.run(&["up", "--yes", "--no-wait", "--region", elsewhere]).exits(0);
    let known = rows(&ground, 0);
    assert!(known.iter().all(|row| row["known_here"] == true), "{known:?}");
    let machine = ground.home().id("machine.main");
    std::fs::remove_dir_all(ground.home().home.deployment().root()).unwrap();

    ground.proxy().clear();
    let lost = rows(&ground, 2);
    assert_eq!(lost.len(), known.len(), "{lost:?}");
    let found: Vec<&str> = lost.iter().filter_map(|row| row["kind"].as_str()).collect();
    for kind in kinds {
        assert!(found.contains(kind), "no {kind} in {found:?}");
    }
    let is_machine = |row: &&Value| row["owned"]["remote_id"].as_str().unwrap().eq_ignore_ascii_case(&machine);
    let row = lost.iter().find(is_machine).unwrap_or_else(|| panic!("no {machine} in {lost:?}"));
    assert_eq!((&row["region"], &row["known_here"]), (&Value::from(elsewhere), &Value::from(false)), "{row}");
    assert_eq!((&row["deployment"], &row["kind"]), (&Value::from("default"), &Value::from("machine")), "{row}");
    assert!(row["owner"].as_str().is_some_and(|owner| !owner.is_empty()), "{row}");
    ground
        .run(&["orphans", "--cloud", G::CLOUD])
        .exits(0)
        .says(elsewhere)
        .says("not known to a deployment on this machine");
    ground.run(DOWN).exits(6);
    ground.is_untouched("orphans, and a down of what nobody knows");

    // Another deployment of that name is another one: neither its drift nor its `down` is stopped by the lost one.
    ground.run(UP).exits(0).says("+ machine.main");
    ground.run(&["drift", "--detailed-exitcode"]).exits(0).says("No drift");
    let both = rows(&ground, 2);
    assert_eq!(both.iter().filter(|row| row["known_here"] == false).count(), lost.len(), "{both:?}");
    ground.run(DOWN).exits(0);
    assert_eq!(rows(&ground, 2).len(), lost.len(), "the lost one was touched");
}
