//! `dsctl orphans`: everything that carries dsctl's tags, in every region. Looks only.

use std::collections::BTreeSet;
use std::process::ExitCode;

use engine::peek::peek;
use providers::cloud::{Found, Search};
use serde::Serialize;

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
        let Search { found, notes } = match clouds::adapter(cloud).await?.find_all().await {
            // Few have credentials of every cloud.
            Err(error) if is_one_of_several => {
                Search { found: Vec::new(), notes: vec![format!("{cloud} was not looked through: {error}")] }
            }
            answer => answer?,
        };
        notes.iter().for_each(|note| say(format!("Note: {note}")));
        is_whole &= notes.is_empty();
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
