//! Weights from a web server: cut and resumed, too large, of the wrong digest.

use tests::home::Home;
use tests::process::{Running, kill};
use tests::shelf::Shelf;
use tests::wait::until;
use tests::weights;

#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    let (home, shelf) = (Home::light(), Shelf::start(&weights::model().path));
    let (url, digest) = (shelf.url(), &weights::model().sha256);
    let words = ["weights", "pull", "small", "--from", &url, "--sha256", digest];
    let brake = shelf.size() * 3 / 4;
    shelf.brake_at(brake);
    let pull = Running::start(&mut home.command(&words));
    until("most of the file was handed out", || (shelf.served() >= brake).then_some(()));
    kill(pull.pid());
    drop(pull);
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 0, "half a file");

    let before = shelf.served();
    shelf.brake_at(u64::MAX);
    home.dsctl(&words).exits(0).says(digest);
    let rest = shelf.served() - before;
    assert!(rest < shelf.size(), "{rest} of {} bytes were fetched again", shelf.size());
    home.dsctl(&["weights", "verify"]).exits(0).says("whole");

    // What is there is not fetched again.
    let before = shelf.served();
    home.dsctl(&words).exits(0);
    assert_eq!(shelf.served(), before);
}

#[test]
fn what_has_no_room_is_not_begun() {
    let (home, shelf) = (Home::light(), Shelf::start(&weights::model().path));
    let refused = home.dsctl(&["weights", "pull", "huge", "--from", &shelf.huge_url()]).exits(4);
    let refused = refused.says("no space").says("10.0 TiB needed").says("dsctl weights gc");
    assert!(refused.stderr.contains(&home.layout().weights().display().to_string()), "{}", refused.transcript());
    assert_eq!(shelf.served(), 0);
}

#[test]
fn bytes_of_another_digest_are_not_kept() {
    let (home, shelf) = (Home::light(), Shelf::start(&weights::model().path));
    let wrong = "1".repeat(64);
    let words = ["weights", "pull", "small", "--from", &shelf.url(), "--sha256", &wrong];
    home.dsctl(&words).exits(4).says("wrong digest").says(&wrong).says(&weights::model().sha256);
    assert_eq!(home.dsctl(&["weights", "list", "--json"]).exits(0).json().as_array().unwrap().len(), 0);
}
