//! `dsctl keys …`: other keys for the clients of a deployment, taken without a restart.

use providers::secret::KeyChange;
use serde::Serialize;
use spec::action::ActionOutcome;

use crate::args::{HostAskArgs, KeysCommand};
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::host_desk::HostDesk;
use crate::site::Kept;
use crate::talk::{print, print_json, say, with_name};

#[derive(Debug, Serialize)]
struct KeysReport<'a> {
    deployment: &'a str,
    changes: &'a [KeyChange],
    /// Where the keys lie, one a line, the newest first.
    api_key: &'a str,
    outcome: &'a ActionOutcome,
}

pub async fn run(context: &Context, command: KeysCommand) -> Result<(), Failure> {
    match &command {
        KeysCommand::Rotate(args) if args.retire_others => {
            change(context, &args.ask, &[KeyChange::Add, KeyChange::RetireOthers]).await
        }
        KeysCommand::Rotate(args) => change(context, &args.ask, &[KeyChange::Add]).await,
        KeysCommand::RetireOthers(args) => change(context, args, &[KeyChange::RetireOthers]).await,
    }
}

async fn change(context: &Context, args: &HostAskArgs, changes: &[KeyChange]) -> Result<(), Failure> {
    let desk = HostDesk::of(context, Kept::find(context, &args.place)?).await?;
    let mut asked = None;
    for change in changes {
        asked = Some(desk.change_keys(*change).await?);
    }
    let Some(action) = asked else { return Ok(()) };
    let api_key = desk.api_key().await?;
    say(format!("The keys are changed in {api_key}; waiting for the host to take them."));
    let outcome = desk.outcome(&action, args.timeout.0).await?;
    if let Err(why) = &outcome.result {
        return Err(Failure::new(Kind::Resource, why).next("dsctl status"));
    }
    if args.json.json {
        return print_json(&KeysReport { deployment: desk.name(), changes, api_key: &api_key, outcome: &outcome });
    }
    print(said(changes, &api_key, &desk))
}

fn said(changes: &[KeyChange], api_key: &str, desk: &HostDesk) -> String {
    let retire = with_name("dsctl keys retire-others", desk.named());
    match changes {
        [KeyChange::Add] => format!(
            "The first line of {api_key} is the new key; the others are still taken. When all clients have it: {retire}"
        ),
        _ => format!("{api_key} holds the one key that is taken from now on"),
    }
}
