//! `dsctl weights …`: the cache that all deployments on this machine share.

use std::sync::{Arc, Mutex};

use agent::weights::{Collected, FetchProgress, Needed, Verdict, WeightsCache, Wholeness};
use providers::local::pinned_weights;
use serde::Serialize;
use spec::amount::bytes_text;
use spec::host::WeightsStatus;
use spec::id::Sha256;
use spec::weights::{WeightsSource, WeightsSpec};
use tokio_util::sync::CancellationToken;

use crate::args::{JsonArgs, WeightsCommand};
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::progress::TransferProgress;
use crate::resolve::look_up;
use crate::talk::{confirm, print, print_json};
use crate::view::table;

pub async fn run(context: &Context, command: WeightsCommand) -> Result<(), Failure> {
    match command {
        WeightsCommand::List(args) => list(context, &args),
        WeightsCommand::Pull { model, sources, sha256, json } => pull(context, &model, sources, sha256, &json).await,
        WeightsCommand::Verify(args) => verify(context, &args).await,
        WeightsCommand::Gc { yes, json } => gc(context, yes, &json),
    }
}

#[derive(Debug, Serialize)]
struct ListRow {
    name: String,
    sha256: Sha256,
    size: u64,
    path: std::path::PathBuf,
    source: WeightsSource,
    fetched_at: jiff::Timestamp,
    state: String,
    needed: bool,
}

fn list(context: &Context, args: &JsonArgs) -> Result<(), Failure> {
    let needed = needed(context)?;
    let cached = agent::weights::list(&WeightsCache::new(&context.home)).map_err(Failure::failed)?;
    let rows: Vec<ListRow> = cached
        .into_iter()
        .map(|entry| ListRow {
            name: entry.status.name.to_string(),
            needed: needed.digests.contains(&entry.status.sha256) || needed.names.contains(&entry.status.name),
            sha256: entry.status.sha256,
            size: entry.status.size,
            path: entry.status.path,
            source: entry.status.source,
            fetched_at: entry.fetched_at,
            state: wholeness(&entry.wholeness),
        })
        .collect();
    if args.json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        return print("no weights in the cache");
    }
    let mut lines = vec![["NAME", "SIZE", "STATE", "NEEDED", "SHA-256", "SOURCE"].map(str::to_owned).to_vec()];
    lines.extend(rows.into_iter().map(|row| {
        let needed = if row.needed { "yes" } else { "no" }.to_owned();
        vec![row.name, bytes_text(row.size), row.state, needed, row.sha256.to_string(), row.source.to_string()]
    }));
    print(table(&lines))
}

fn wholeness(state: &Wholeness) -> String {
    match state {
        Wholeness::Whole => "whole".to_owned(),
        Wholeness::Missing => "missing".to_owned(),
        Wholeness::WrongSize { found } => format!("wrong size: {}", bytes_text(*found)),
    }
}

async fn pull(
    context: &Context,
    model: &str,
    sources: Vec<WeightsSource>,
    sha256: Option<Sha256>,
    args: &JsonArgs,
) -> Result<(), Failure> {
    let mut fetched = Vec::new();
    for part in specs_to_pull(model, sources, sha256)? {
        fetched.push(pull_one(context, model, &part).await?);
    }
    if args.json {
        return print_json(&fetched);
    }
    fetched
        .iter()
        .try_for_each(|it| print(format!("{}  {}  {}  {}", it.name, bytes_text(it.size), it.sha256, it.path.display())))
}

async fn pull_one(context: &Context, model: &str, part: &WeightsSpec) -> Result<WeightsStatus, Failure> {
    let cache = WeightsCache::new(&context.home);
    let cancel = CancellationToken::new();
    let progress = Arc::new(Mutex::new(TransferProgress::new()));
    let shown = progress.clone();
    let fetching = agent::weights::fetch(&cache, part, move |event| show(&shown, &event), &cancel);
    tokio::pin!(fetching);
    let fetched = tokio::select! {
        fetched = &mut fetching => fetched,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            // What was fetched is kept for the next try.
            let _ = fetching.await;
            let failure = Failure::new(Kind::Interrupted, "interrupted; what was fetched is kept");
            return Err(failure.next(format!("dsctl weights pull {model}")));
        }
    };
    lock(&progress).finish();
    fetched.map_err(|error| Failure::new(Kind::Resource, error))
}

fn lock(progress: &Mutex<TransferProgress>) -> std::sync::MutexGuard<'_, TransferProgress> {
    progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn specs_to_pull(
    model: &str,
    sources: Vec<WeightsSource>,
    sha256: Option<Sha256>,
) -> Result<Vec<WeightsSpec>, Failure> {
    if sources.is_empty() {
        let catalogue = advisor::catalogue().map_err(Failure::failed)?;
        return Ok(look_up(&catalogue, "model", model)?.weights);
    }
    let name = model.parse().map_err(Failure::usage)?;
    Ok(vec![WeightsSpec { name, sources, sha256, size: None }])
}

fn show(progress: &Mutex<TransferProgress>, event: &FetchProgress) {
    match event.progress() {
        Some(at) => lock(progress).update(format!("{event}  {}", crate::view::phases::progress_text(at))),
        None => lock(progress).note(&event.to_string()),
    }
}

#[derive(Debug, Serialize)]
struct VerifyRow {
    sha256: Sha256,
    names: Vec<String>,
    whole: bool,
    verdict: String,
}

async fn verify(context: &Context, args: &JsonArgs) -> Result<(), Failure> {
    let cache = WeightsCache::new(&context.home);
    let verified = tokio::task::spawn_blocking(move || {
        let progress = Mutex::new(TransferProgress::new());
        let verified = agent::weights::verify(&cache, &|digest, at| {
            let line = format!("{}…  {}", &digest.as_str()[..12], crate::view::phases::progress_text(&at));
            lock(&progress).update(line);
        });
        progress.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish();
        verified
    });
    let verified = verified.await.map_err(Failure::failed)?.map_err(Failure::failed)?;
    let rows: Vec<VerifyRow> = verified
        .into_iter()
        .map(|it| VerifyRow {
            sha256: it.sha256,
            names: it.names.iter().map(ToString::to_string).collect(),
            whole: it.verdict == Verdict::Whole,
            verdict: match it.verdict {
                Verdict::Whole => "whole".to_owned(),
                Verdict::Missing => "missing".to_owned(),
                Verdict::Corrupt { found } => format!("corrupt: its bytes have sha256 {found}; removed"),
            },
        })
        .collect();
    let bad: Vec<String> = rows.iter().filter(|row| !row.whole).map(|row| row.names.join(", ")).collect();
    if args.json && bad.is_empty() {
        return print_json(&rows);
    }
    if !args.json {
        let mut lines = vec![["NAME", "SHA-256", "VERDICT"].map(str::to_owned).to_vec()];
        lines.extend(rows.into_iter().map(|row| vec![row.names.join(", "), row.sha256.to_string(), row.verdict]));
        print(table(&lines))?;
    }
    match bad.first() {
        None => Ok(()),
        Some(name) => Err(Failure::failed(format!("{} of the weights are not whole: {}", bad.len(), bad.join(", ")))
            .next(format!("dsctl weights pull {name}"))),
    }
}

/// What the deployments on this machine need.
fn needed(context: &Context) -> Result<Needed, Failure> {
    let pinned: Vec<WeightsSpec> = pinned_weights(&context.home)?.into_values().flatten().collect();
    Ok(Needed {
        digests: pinned.iter().filter_map(|spec| spec.sha256.clone()).collect(),
        names: pinned.into_iter().map(|spec| spec.name).collect(),
    })
}

/// Removes weights of a deployment that is gone, unless another one needs them; gives the bytes freed.
pub fn remove_unneeded(context: &Context, own: &[WeightsSpec]) -> Result<u64, Failure> {
    let (needed, cache) = (needed(context)?, WeightsCache::new(&context.home));
    let cached = agent::weights::list(&cache).map_err(Failure::failed)?;
    let mut freed = 0;
    for entry in cached.iter().filter(|entry| own.iter().any(|spec| spec.name == entry.status.name)) {
        if !needed.names.contains(&entry.status.name) && !needed.digests.contains(&entry.status.sha256) {
            freed += agent::weights::remove(&cache, &entry.status.name).map_err(Failure::failed)?;
        }
    }
    Ok(freed)
}

#[derive(Debug, Serialize)]
pub struct GcReport {
    pub names: Vec<String>,
    pub bytes_freed: u64,
}

/// Removes what no deployment on this machine needs.
pub fn collect(context: &Context) -> Result<GcReport, Failure> {
    let Collected { names, bytes, .. } =
        agent::weights::gc(&WeightsCache::new(&context.home), &needed(context)?).map_err(Failure::failed)?;
    Ok(GcReport { names: names.iter().map(ToString::to_string).collect(), bytes_freed: bytes })
}

fn gc(context: &Context, yes: bool, args: &JsonArgs) -> Result<(), Failure> {
    if !yes {
        confirm("Remove all weights that no deployment on this machine needs?", "dsctl weights gc")?;
    }
    let report = collect(context)?;
    if args.json {
        return print_json(&report);
    }
    let names = if report.names.is_empty() { "nothing".to_owned() } else { report.names.join(", ") };
    print(format!("removed {names}; {} freed", bytes_text(report.bytes_freed)))
}
