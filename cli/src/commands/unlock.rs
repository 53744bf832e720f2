//! `dsctl unlock`: ends the lock of a command that died on another machine, or hangs.

use engine::lease::{self, Holder};
use jiff::Timestamp;
use serde::Serialize;
use spec::id::DeploymentName;

use crate::args::UnlockArgs;
use crate::context::{Context, is_dead, is_here};
use crate::exit::{Failure, Kind};
use crate::site::Kept;
use crate::talk::{confirm, print, print_json};

#[derive(Debug, Serialize)]
struct UnlockReport {
    deployment: DeploymentName,
    /// None: it was not locked.
    held_by: Option<Holder>,
}

pub async fn run(context: &Context, args: UnlockArgs) -> Result<(), Failure> {
    let kept = Kept::find(context, &args.place)?;
    let (name, store) = (&kept.name, kept.store()?);
    let held = lease::holder(&*store, Timestamp::now()).await?;
    if let Some((holder, expires_at)) = &held {
        if is_here(holder) && !is_dead(holder) && !args.force {
            let message = format!("{holder} is alive and holds the lock; two at once would hinder each other");
            return Err(Failure::new(Kind::Locked, message).next("wait for its end, or dsctl unlock --force"));
        }
        if !args.yes {
            confirm(&format!("End the lock of {holder}, which lasts until {expires_at}?"), "dsctl unlock")?;
        }
        lease::unlock(&*store).await?;
    }
    let held_by = held.map(|(holder, _)| holder);
    if args.json.json {
        return print_json(&UnlockReport { deployment: name.clone(), held_by });
    }
    print(match held_by {
        Some(holder) => format!("{name} is unlocked; it was held by {holder}."),
        None => format!("{name} is not locked."),
    })
}
