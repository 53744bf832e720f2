//! `dsctl keys …`: keys for the clients of a deployment, with a name and limits or without, taken without a restart.

use jiff::{SignedDuration, Timestamp};
use providers::secret::KeyChange;
use serde::Serialize;
use sha2::{Digest, Sha256};
use spec::action::ActionOutcome;
use spec::virtual_key::{KeyLine, VirtualKey};

use crate::args::{HostAskArgs, KeyCreateArgs, KeyRevokeArgs, KeysCommand};
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
    /// The new key with a name: it is told nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct KeyList<'a> {
    deployment: &'a str,
    keys: &'a [VirtualKey],
}

pub async fn run(context: &Context, command: KeysCommand) -> Result<(), Failure> {
    match &command {
        KeysCommand::Rotate(args) if args.retire_others => {
            change(context, &args.ask, &[KeyChange::Add, KeyChange::RetireOthers], None).await
        }
        KeysCommand::Rotate(args) => change(context, &args.ask, &[KeyChange::Add], None).await,
        KeysCommand::RetireOthers(args) => change(context, args, &[KeyChange::RetireOthers], None).await,
        KeysCommand::Create(args) => create(context, args).await,
        KeysCommand::List(args) => list(context, &args.ask).await,
        KeysCommand::Revoke(args) => revoke(context, args).await,
    }
}

async fn create(context: &Context, args: &KeyCreateArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let expires =
        args.expires.map(|span| now.checked_add(SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX)));
    let key = VirtualKey {
        name: args.key_name.clone(),
        made_at: now,
        models: args.models.clone(),
        requests_per_minute: args.requests_per_minute,
        tokens_per_minute: args.tokens_per_minute,
        budget: args.budget,
        expires: expires.transpose().map_err(|_| Failure::usage("--expires: that is after all time"))?,
    };
    let secret = format!("dsk-{}", hex::encode(rand::random::<[u8; 32]>()));
    let digest = hex::encode(Sha256::digest(&secret)).parse().map_err(Failure::failed)?;
    let line = KeyLine { digest, key }.to_string();
    change(context, &args.ask, &[KeyChange::Create(line)], Some(&secret)).await
}

async fn revoke(context: &Context, args: &KeyRevokeArgs) -> Result<(), Failure> {
    let desk = HostDesk::of(context, Kept::find(context, &args.ask.place)?).await?;
    if !known(&desk).await?.iter().any(|key| key.name == args.key_name) {
        let message = format!("there is no key with the name {}", args.key_name);
        return Err(Failure::failed(message).next(with_name("dsctl keys list", desk.named())));
    }
    change(context, &args.ask, &[KeyChange::Revoke(args.key_name.clone())], None).await
}

async fn known(desk: &HostDesk) -> Result<Vec<VirtualKey>, Failure> {
    let text = desk.client_keys().await?;
    let keys = text.lines().filter_map(|line| KeyLine::read(line.trim()).transpose());
    keys.map(|line| line.map(|line| line.key).map_err(Failure::failed)).collect()
}

async fn list(context: &Context, args: &HostAskArgs) -> Result<(), Failure> {
    let desk = HostDesk::of(context, Kept::find(context, &args.place)?).await?;
    let keys = known(&desk).await?;
    if args.json.json {
        return print_json(&KeyList { deployment: desk.name(), keys: &keys });
    }
    if keys.is_empty() {
        say(format!("No key has a name; the one in {} has no limits.", desk.api_key().await?));
    }
    for key in &keys {
        print(told(key))?;
    }
    Ok(())
}

fn told(key: &VirtualKey) -> String {
    let models = if key.models.is_empty() { "all models".to_owned() } else { key.models.join(", ") };
    let limits = [
        Some(models),
        key.requests_per_minute.map(|count| format!("{count} requests/min")),
        key.tokens_per_minute.map(|count| format!("{count} tokens/min")),
        key.budget.map(|budget| format!("${budget}")),
        key.expires.map(|at| format!("until {at}")),
    ];
    format!("{}: {}", key.name, limits.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

async fn change(
    context: &Context,
    args: &HostAskArgs,
    changes: &[KeyChange],
    made: Option<&str>,
) -> Result<(), Failure> {
    let desk = HostDesk::of(context, Kept::find(context, &args.place)?).await?;
    let mut asked = None;
    for change in changes {
        asked = Some(desk.change_keys(change).await?);
    }
    let Some(action) = asked else { return Ok(()) };
    let api_key = desk.api_key().await?;
    say(format!("The keys are changed in {api_key}; waiting for the host to take them."));
    let outcome = desk.outcome(&action, args.timeout.0).await?;
    if let Err(why) = &outcome.result {
        return Err(Failure::new(Kind::Resource, why).next("dsctl status"));
    }
    if args.json.json {
        let (deployment, outcome) = (desk.name(), &outcome);
        return print_json(&KeysReport { deployment, changes, api_key: &api_key, outcome, key: made });
    }
    print(said(changes, &api_key, made, &desk))
}

fn said(changes: &[KeyChange], api_key: &str, made: Option<&str>, desk: &HostDesk) -> String {
    let retire = with_name("dsctl keys retire-others", desk.named());
    match (changes, made) {
        (_, Some(made)) => made.to_owned(),
        ([KeyChange::Revoke(name)], None) => format!("{name} is taken no more"),
        ([KeyChange::Add], None) => format!(
            "The first line of {api_key} is the new key; the others are still taken. When all clients have it: {retire}"
        ),
        _ => format!("{api_key} holds the one key without a name that is taken from now on"),
    }
}
