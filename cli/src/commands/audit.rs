//! `dsctl audit …`: whether a deployment's audit log is whole, what it says, and making it forget who somebody was.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use audit::{Event, Identified, Keys, People, Reader, RequestRecord, Summary, verify};
use providers::local::graph::GATEWAY_UNIT;
use serde::Serialize;
use spec::audit::{AUDIT_FOLDER, AUDIT_KEY};

use crate::args::{AuditCommand, AuditEraseArgs, AuditExportArgs, AuditFormat, AuditPlaceArgs, AuditVerifyArgs};
use crate::context::Context;
use crate::exit::Failure;
use crate::site::Kept;
use crate::talk::{confirm, print, print_json, say};

/// Columns of a table; what a record has not is empty.
const COLUMNS: [&str; 20] = [
    "number",
    "at",
    "id",
    "path",
    "key",
    "user",
    "client",
    "model",
    "variant",
    "generation",
    "status",
    "outcome",
    "prompt",
    "answer",
    "prompt_tokens",
    "completion_tokens",
    "cost_dollars",
    "guards",
    "duration_ms",
    "user_tag",
];

/// Where a log and its key lie.
struct Log {
    folder: PathBuf,
    keys: Keys,
}

#[derive(Debug, Serialize)]
struct Erased<'a> {
    user: &'a str,
    /// Records that nobody can be found from any more.
    records: u64,
}

pub fn run(context: &Context, command: &AuditCommand) -> Result<ExitCode, Failure> {
    let log = Log::find(context, command.place())?;
    match command {
        AuditCommand::Verify(args) => check(&log, args),
        AuditCommand::Export(args) => export(&log, args).map(|()| ExitCode::SUCCESS),
        AuditCommand::Erase(args) => erase(&log, args).map(|()| ExitCode::SUCCESS),
    }
}

impl Log {
    fn find(context: &Context, args: &AuditPlaceArgs) -> Result<Self, Failure> {
        let (folder, key_file) = match args.folder.clone().zip(args.key_file.clone()) {
            Some(given) => given,
            None => {
                let kept = Kept::named(context, &args.name.name)?;
                kept.refuse_cloud("dsctl audit")?;
                let unit = GATEWAY_UNIT.parse().map_err(Failure::failed)?;
                let key = AUDIT_KEY.parse().map_err(Failure::failed)?;
                (kept.layout.host().data(&unit).join(AUDIT_FOLDER), kept.layout.bucket().secret(&key))
            }
        };
        if !folder.is_dir() {
            let message =
                format!("no audit log is kept: there is no {}; ask for one with `audit: {{}}`", folder.display());
            return Err(Failure::failed(message).next("dsctl plan"));
        }
        let keys = Keys::read(&key_file)
            .map_err(|error| Failure::failed(format!("the audit log's key {}: {error}", key_file.display())))?;
        Ok(Self { folder, keys })
    }

    fn failed(&self, error: std::io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.folder.display()))
    }
}

fn check(log: &Log, args: &AuditVerifyArgs) -> Result<ExitCode, Failure> {
    let summary = verify(&log.folder, &log.keys, args.expect.as_deref()).map_err(|error| log.failed(error))?;
    let code = if summary.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json.json {
        print_json(&summary)?;
        return Ok(code);
    }
    for fault in &summary.faults {
        print(format!("{}:{}: {}", fault.file.display(), fault.line, fault.what))?;
    }
    if summary.has_expected == Some(false) {
        print("the record with the expected hash is not there")?;
    }
    print(told(&summary))?;
    Ok(code)
}

fn told(summary: &Summary) -> String {
    let verdict = if summary.is_whole() { "whole" } else { "NOT as it was written" };
    let mut text = format!("{verdict}: {} records in {} files", summary.records, summary.files);
    if let (Some(first), Some(last)) = (summary.first, summary.last) {
        text += &format!(", number {first} to {last}");
    }
    if summary.repairs > 0 {
        text += &format!("; {} cut line(s) after crashes", summary.repairs);
    }
    if summary.lost > 0 {
        text += &format!("; {} request(s) without a record", summary.lost);
    }
    match &summary.head {
        Some(head) => format!("{text}\nlast hash: {head}"),
        None => text,
    }
}

fn export(log: &Log, args: &AuditExportArgs) -> Result<(), Failure> {
    let failed = |error| log.failed(error);
    let tag = match &args.user {
        None => None,
        Some(user) => {
            let nobody = || Failure::failed(format!("nothing is known of the user {user}: never seen, or erased"));
            Some(People::of(&log.folder).tag(&log.keys, user).map_err(failed)?.ok_or_else(nobody)?)
        }
    };
    let mut out = Out::new(args.format)?;
    for record in Reader::open(&log.folder).map_err(failed)?.records().map_err(failed)? {
        let record = record.map_err(failed)?;
        let at = record.record.at;
        let is_in_time = args.since.is_none_or(|since| at >= since) && args.until.is_none_or(|until| at < until);
        if is_in_time && (tag.is_none() || tag == request(&record).and_then(|request| request.user.clone())) {
            out.write(&record)?;
        }
    }
    out.end()
}

fn request(record: &Identified) -> Option<&RequestRecord> {
    match &record.record.event {
        Event::Request(request) => Some(request),
        Event::Repaired { .. } | Event::Lost { .. } => None,
    }
}

/// Standard output in one of the formats.
enum Out {
    Jsonl(std::io::BufWriter<std::io::Stdout>),
    Csv(Box<csv::Writer<std::io::Stdout>>),
}

impl Out {
    fn new(format: AuditFormat) -> Result<Self, Failure> {
        match format {
            AuditFormat::Jsonl => Ok(Self::Jsonl(std::io::BufWriter::new(std::io::stdout()))),
            AuditFormat::Csv => {
                let mut writer = csv::Writer::from_writer(std::io::stdout());
                writer.write_record(COLUMNS).map_err(Failure::failed)?;
                Ok(Self::Csv(Box::new(writer)))
            }
        }
    }

    fn write(&mut self, record: &Identified) -> Result<(), Failure> {
        match self {
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, record).map_err(Failure::failed)?;
                Ok(out.write_all(b"\n")?)
            }
            Self::Csv(out) => match row(record) {
                None => Ok(()),
                Some(row) => out.write_record(row).map_err(Failure::failed),
            },
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Jsonl(mut out) => Ok(out.flush()?),
            Self::Csv(mut out) => Ok(out.flush()?),
        }
    }
}

/// As a table has it; none of what is no request.
fn row(record: &Identified) -> Option<[String; 20]> {
    let request = request(record)?.clone();
    let person = record.person.as_ref();
    let client = request.client.or_else(|| person?.client.clone());
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let guards = request.guards.iter();
    let guards =
        guards.map(|verdict| format!("{} {} {} {}", verdict.direction, verdict.action, verdict.rule, verdict.times));
    Some([
        record.record.number.to_string(),
        record.record.at.to_string(),
        request.id,
        request.path,
        request.key.unwrap_or_default(),
        plain(person.map(|who| who.user.clone())),
        client.unwrap_or_default(),
        plain(request.model),
        request.variant.unwrap_or_default(),
        number(request.generation),
        number(request.status.map(u64::from)),
        request.outcome,
        request.prompt.unwrap_or_default(),
        request.answer.unwrap_or_default(),
        number(request.prompt_tokens),
        number(request.completion_tokens),
        request.cost_dollars.map(|dollars| dollars.to_string()).unwrap_or_default(),
        guards.collect::<Vec<_>>().join("; "),
        request.duration_ms.to_string(),
        request.user.unwrap_or_default(),
    ])
}

/// What clients name freely must not be a formula where somebody opens the table.
fn plain(text: Option<String>) -> String {
    match text {
        Some(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        text => text.unwrap_or_default(),
    }
}

fn erase(log: &Log, args: &AuditEraseArgs) -> Result<(), Failure> {
    let failed = |error| log.failed(error);
    let people = People::of(&log.folder);
    let nobody =
        || Failure::failed(format!("nothing is known of the user {}: never seen, or erased already", args.user));
    let tag = people.tag(&log.keys, &args.user).map_err(failed)?.ok_or_else(nobody)?;
    let mut records = 0;
    for record in Reader::open(&log.folder).map_err(failed)?.records().map_err(failed)? {
        let record = record.map_err(failed)?;
        records += u64::from(request(&record).is_some_and(|request| request.user.as_ref() == Some(&tag)));
    }
    if !args.yes {
        say(format!("{records} records are of {}. Nobody will find out any more that they are.", args.user));
        confirm("Erase the user?", &format!("dsctl audit erase --user {}", args.user))?;
    }
    people.drop_key(&log.keys, &args.user).map_err(failed)?;
    if args.json.json {
        return print_json(&Erased { user: &args.user, records });
    }
    print(format!(
        "{} is erased: {records} records stay, of nobody; copies of the log's folder are not touched",
        args.user
    ))
}
