//! `dsctl plan`: what `up` would do.

use std::process::ExitCode;

use crate::args::PlanArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::prepare::prepare;
use crate::talk::{print, print_json};
use crate::view;

pub async fn run(context: &Context, args: PlanArgs) -> Result<ExitCode, Failure> {
    let prepared = prepare(context, &args.spec)?;
    let plan = prepared.plan(context, "dsctl plan").await?;
    if args.json.json {
        print_json(&plan)?;
    } else {
        print(view::plan::plan(&plan))?;
    }
    let code = if args.detailed_exitcode && !plan.is_empty() { 2 } else { 0 };
    Ok(ExitCode::from(code))
}
