//! The log on a real disk: chained, rotated, repaired, erased.

use super::*;
use crate::reading::{Reader, Summary, verify};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn keys() -> Arc<Keys> {
    Arc::new(Keys::from_secret(SECRET).unwrap())
}

fn open(folder: &Path, bytes: u64) -> Journal {
    Journal::open(folder, keys(), Rotation { bytes }).unwrap()
}

fn draft(id: &str, user: Option<&str>) -> Draft {
    let record =
        RequestRecord { id: id.to_owned(), outcome: "ok".to_owned(), cost_dollars: Some(0.1), ..Default::default() };
    let client = Some("10.0.0.7".to_owned());
    Draft { at: Timestamp::now(), record, user: user.map(str::to_owned), client, prompt: Some([1; 32]), answer: None }
}

fn write(journal: &mut Journal, drafts: &[Draft]) {
    journal.write(Timestamp::now(), 0, drafts).unwrap();
}

fn check(folder: &Path) -> Summary {
    verify(folder, &keys(), None).unwrap()
}

fn whole_text(folder: &Path) -> String {
    files(folder).unwrap().iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn records_are_chained_over_files_and_restarts_and_name_nobody() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let mut journal = open(folder.path(), 1);
        write(&mut journal, &[draft(&format!("a{round}"), Some("alice")), draft("b", None)]);
    }
    let summary = check(folder.path());
    assert_eq!((summary.files, summary.records, summary.last), (4, 8, Some(8)), "{summary:?}");
    assert!(summary.is_whole(), "{summary:?}");
    let text = whole_text(folder.path());
    assert!(
        !text.contains("alice") && text.matches("10.0.0.7").count() == 4,
        "an address stands open only without a user"
    );
    let head = summary.head.unwrap();
    assert_eq!(verify(folder.path(), &keys(), Some(&head)).unwrap().has_expected, Some(true));
    assert!(!verify(folder.path(), &keys(), Some("00")).unwrap().is_whole());
}

#[test]
fn whatever_is_changed_taken_or_moved_is_found() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut open(folder.path(), 1 << 20), &(0..5).map(|n| draft(&n.to_string(), None)).collect::<Vec<_>>());
    let path = files(folder.path()).unwrap().remove(0);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let cases = [
        good.replacen("\"ok\"", "\"no\"", 1),
        joined(&[lines[0], lines[2], lines[3]]),
        joined(&[lines[0], lines[2], lines[1], lines[3]]),
        joined(&[lines[0], lines[1], lines[1], lines[2]]),
        good.replacen(lines[3], "", 1),
    ];
    for (at, case) in cases.iter().enumerate() {
        fs::write(&path, case).unwrap();
        assert!(!check(folder.path()).is_whole(), "case {at} was not seen");
    }
    fs::write(&path, &good).unwrap();
    let other = Keys::from_secret(&SECRET.replace('0', "9")).unwrap();
    assert!(!verify(folder.path(), &other, None).unwrap().is_whole());
    let error = Journal::open(folder.path(), Arc::new(other), Rotation { bytes: 9 }).unwrap_err().to_string();
    assert!(error.contains("records-000000000001.jsonl"), "{error}");
}

#[test]
fn a_line_torn_at_any_byte_is_cut_and_said() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut open(folder.path(), 1 << 20), &[draft("a", Some("u")), draft("b", None)]);
    let path = files(folder.path()).unwrap().remove(0);
    let good = fs::read(&path).unwrap();
    let first = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at in (first..good.len()).chain(0..first) {
        fs::write(&path, &good[..at]).unwrap();
        assert!(check(folder.path()).is_whole(), "while it is written half a line is no fault");
        let mut journal = open(folder.path(), 1 << 20);
        write(&mut journal, &[draft("c", None)]);
        let summary = check(folder.path());
        let is_torn = at != 0 && at != first;
        assert!(summary.is_whole() && summary.repairs == u64::from(is_torn), "{at}: {summary:?}");
        assert_eq!(summary.records, u64::from(at >= first) + u64::from(is_torn) + 1, "{at}");
    }
}

/// The next record begins a file of its own: the day is another, or the file was full.
#[test]
fn half_a_line_is_cut_from_a_file_that_nothing_more_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut open(folder.path(), 1 << 20), &[draft("a", None), draft("b", None)]);
    let path = files(folder.path()).unwrap().remove(0);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 5]).unwrap();
    write(&mut open(folder.path(), 1), &[draft("c", None)]);
    let summary = check(folder.path());
    assert!(summary.is_whole() && (summary.records, summary.repairs) == (3, 1), "{summary:?}");
    assert_eq!(files(folder.path()).unwrap().len(), 2);
}

#[test]
fn what_could_not_be_written_is_written_later_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("log");
    let mut journal = open(&root, 1);
    write(&mut journal, &[draft("a", None)]);
    fs::rename(&root, folder.path().join("away")).unwrap();
    for _ in 0..2 {
        journal.write(Timestamp::now(), 0, &[draft("b", Some("u"))]).unwrap_err();
    }
    fs::rename(folder.path().join("away"), &root).unwrap();
    journal.write(Timestamp::now(), 3, &[draft("b", Some("u"))]).unwrap();
    let summary = check(&root);
    assert!(summary.is_whole() && (summary.records, summary.lost) == (3, 3), "{summary:?}");
}

#[test]
fn an_erased_user_is_nobody_and_the_chain_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), 1 << 20);
    write(&mut journal, &[draft("a", Some("alice")), draft("b", Some("bob")), draft("c", Some("alice"))]);
    let users = || -> Vec<Option<String>> {
        let reader = Reader::open(folder.path()).unwrap();
        reader.records().unwrap().map(|record| record.unwrap().person.map(|who| who.user)).collect()
    };
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(users(), [name("alice"), name("bob"), name("alice")]);
    let people = People::of(folder.path());
    let before = people.tag(&keys(), "alice").unwrap();
    assert!(people.drop_key(&keys(), "alice").unwrap() && !people.drop_key(&keys(), "alice").unwrap());
    assert_eq!(users(), [None, name("bob"), None]);
    assert!(check(folder.path()).is_whole());
    write(&mut journal, &[draft("d", Some("alice"))]);
    assert_ne!(people.tag(&keys(), "alice").unwrap(), before, "who comes again is somebody else");
    assert_eq!(users()[3], name("alice"));
}
