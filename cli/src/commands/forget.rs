//! `dsctl forget`: out of the state, and otherwise untouched.

use engine::graph::Address;
use serde::Serialize;
use spec::id::DeploymentName;

use crate::args::ForgetArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::session::Session;
use crate::site::Kept;
use crate::talk::{confirm, print, print_json};

#[derive(Debug, Serialize)]
struct ForgetReport {
    deployment: DeploymentName,
    forgotten: Address,
}

pub async fn run(context: &Context, args: ForgetArgs) -> Result<(), Failure> {
    let kept = Kept::find(context, &args.place)?;
    let name = &kept.name;
    let Some(site) = kept.site(context).await? else {
        return Err(Failure::usage(format!("nothing of {name} is on record")).next("dsctl plan"));
    };
    let mut session = Session::open(site, "dsctl forget").await?;
    let forgotten = forget(&mut session, &args).await;
    let forgotten = session.release_after(forgotten).await?;
    if args.json.json {
        return print_json(&ForgetReport { deployment: name.clone(), forgotten });
    }
    print(format!("{forgotten} is forgotten; it was not touched, and dsctl will not remove it."))
}

async fn forget(session: &mut Session, args: &ForgetArgs) -> Result<Address, Failure> {
    let known: Vec<Address> = session.engine.state().resources.keys().cloned().collect();
    let Some(address) = known.iter().find(|address| address.as_str() == args.address) else {
        let known: Vec<&str> = known.iter().map(Address::as_str).collect();
        let message = format!("{} is not in the state; there are {}", args.address, known.join(", "));
        return Err(Failure::usage(message).next("dsctl plan"));
    };
    if !args.yes {
        confirm(&format!("Forget {address}? Whatever it is goes on, and nobody will remove it."), "dsctl forget")?;
    }
    session.engine.forget(address).await?;
    Ok(address.clone())
}
