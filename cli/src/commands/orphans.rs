//! `dsctl orphans`: everything that carries dsctl's tags, in every region. Looks only.

use std::collections::BTreeSet;
use std::process::ExitCode;

use engine::peek::peek;
use engine::provider::ProviderError;
use providers::cloud::{Found, Search};
use serde::Serialize;
use spec::deployment::Cloud;

use crate::args::OrphansArgs;
use crate::clouds;
use crate::context::Context;
use crate::exit::Failure;
use crate::site::Kept;
use crate::talk::{print, print_json, say};
use crate::view;

/// Something that was found.
#[derive(Debug, Serialize)]
pub struct OrphanRow {
    #[serde(flatten)]
    pub found: Found,
    /// Whether the record of a deployment on this machine has it.
    pub known_here: bool,
}

pub async fn run(context: &Context, args: OrphansArgs) -> Result<ExitCode, Failure> {
    let clouds = match args.cloud {
        Some(cloud) => vec![cloud],
        None => clouds::built_in(),
    };
    if clouds.is_empty() {
        let message = "this dsctl was built without a cloud; there is nothing to look through";
        return Err(Failure::usage(message).next("cargo build --release --workspace --features aws,gcp"));
    }
    let known = known_here(context).await?;
    let (mut rows, mut is_whole) = (Vec::new(), true);
    let is_one_of_several = args.cloud.is_none() && clouds.len() > 1;
    for cloud in clouds {
        let Search { mut found, notes } = match clouds::adapter(cloud).await?.find_all().await {
            // Few have credentials of every cloud.
            Err(error) if is_one_of_several => Search { found: Vec::new(), notes: vec![unlooked(cloud, &error)] },
            answer => answer?,
        };
        notes.iter().for_each(|note| say(format!("Note: {note}")));
        is_whole &= notes.is_empty();
        sort(&mut found);
        let row = |found: Found| OrphanRow { known_here: known.contains(&found.owned.remote_id.0), found };
        rows.extend(found.into_iter().map(row));
    }
    let unknown = rows.iter().any(|row| !row.known_here);
    if args.json.json {
        print_json(&rows)?;
    } else {
        print(view::cloud::orphans(&rows))?;
    }
    // Half a look is no all-clear.
    Ok(match () {
        () if args.detailed_exitcode && unknown => ExitCode::from(2),
        () if !is_whole => ExitCode::FAILURE,
        () => ExitCode::SUCCESS,
    })
}

fn unlooked(cloud: Cloud, error: &ProviderError) -> String {
    format!("{cloud} was not looked through: {error}; `dsctl orphans --cloud NAME` looks through one cloud alone")
}

/// Kinds stay in the adapter's order; what is of one kind goes by place and nature, not by ids that mean nothing.
fn sort(found: &mut [Found]) {
    let kinds: Vec<String> = found.iter().map(|it| it.kind.clone()).collect();
    found.sort_by_cached_key(|it| {
        let place = kinds.iter().position(|kind| *kind == it.kind);
        (place, it.region.clone(), it.deployment.clone(), it.detail.clone(), it.owned.remote_id.0.clone())
    });
}

/// Remote ids in the records on this machine.
async fn known_here(context: &Context) -> Result<BTreeSet<String>, Failure> {
    let mut known = BTreeSet::new();
    for name in providers::local::deployments(&context.home)? {
        let kept = Kept::named(context, &name)?;
        let state = peek(kept.store()?, &name).await?.state;
        let replaced = state.replaced.iter().map(|it| &it.resource);
        known.extend(state.resources.values().chain(replaced).map(|it| it.remote_id.0.clone()));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_kind_goes_by_place_and_nature() {
        let found = |kind: &str, region: &str, detail: &str, id: &str| -> Found {
            serde_json::from_value(serde_json::json!({
                "region": region, "deployment": "default", "owner": null, "kind": kind, "detail": detail, "created": null,
                "owned": {"remote_id": id, "address": null, "token": null, "lineage": null},
            }))
            .unwrap()
        };
        let mut all = vec![
            found("subnet", "us-east-1", "us-east-1c", "subnet-1"),
            found("machine", "us-east-1", "g6.xlarge", "i-9"),
            found("subnet", "us-east-1", "us-east-1a", "subnet-2"),
            found("subnet", "eu-west-1", "eu-west-1b", "subnet-3"),
        ];
        sort(&mut all);
        let ids: Vec<&str> = all.iter().map(|it| it.owned.remote_id.0.as_str()).collect();
        assert_eq!(ids, ["subnet-3", "subnet-2", "subnet-1", "i-9"]);
    }
}
