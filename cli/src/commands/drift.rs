//! `dsctl drift`: what is not as `up` left it. Looks only: no lease, no write.

use std::process::ExitCode;

use engine::drift::Drift;
use serde::Serialize;
use spec::id::DeploymentName;

use crate::args::DriftArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::session::look;
use crate::site::Kept;
use crate::talk::{print, print_json};
use crate::view;

#[derive(Debug, Serialize)]
struct DriftReport {
    deployment: DeploymentName,
    drift: Vec<Drift>,
    /// Left out as `--ignore` asked.
    ignored: usize,
}

pub async fn run(context: &Context, args: DriftArgs) -> Result<ExitCode, Failure> {
    let kept = Kept::find(context, &args.place)?;
    let name = &kept.name;
    let all = match kept.site(context).await? {
        Some(site) => look(site).await?.drift().await?,
        None => Vec::new(),
    };
    let found = all.len();
    let drift: Vec<Drift> = all.into_iter().filter_map(|drift| without_ignored(drift, &args.ignore)).collect();
    let ignored = found - drift.len();
    let code = if args.detailed_exitcode && !drift.is_empty() { 2 } else { 0 };
    if args.json.json {
        print_json(&DriftReport { deployment: name.clone(), drift, ignored })?;
    } else {
        print(view::drift::drift(name.as_str(), &drift, ignored))?;
    }
    Ok(ExitCode::from(code))
}

/// None if nothing is left of it.
fn without_ignored(drift: Drift, ignore: &[String]) -> Option<Drift> {
    let is_ignored = |place: &str| ignore.iter().any(|ignored| ignored == place);
    match drift {
        Drift::Changed { address, keys, before, after } => {
            let mut keys = keys;
            keys.retain(|key| !is_ignored(&format!("{address}.{key}")));
            let is_left = !keys.is_empty() && !is_ignored(address.as_str());
            is_left.then_some(Drift::Changed { address, keys, before, after })
        }
        Drift::Gone { address } => (!is_ignored(address.as_str())).then_some(Drift::Gone { address }),
        Drift::Unknown(owned) => (!is_ignored(&owned.remote_id.0)).then_some(Drift::Unknown(owned)),
    }
}

#[cfg(test)]
mod tests {
    use engine::graph::Address;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_ignored_is_left_out_by_address_or_key() {
        let changed = |keys: &[&str]| Drift::Changed {
            address: Address::new("thing", "a"),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            before: json!({}),
            after: json!({}),
        };
        let ignore = |what: &str| vec![what.to_owned()];
        assert_eq!(without_ignored(changed(&["x", "y"]), &ignore("thing.a.x")), Some(changed(&["y"])));
        assert_eq!(without_ignored(changed(&["x"]), &ignore("thing.a.x")), None);
        assert_eq!(without_ignored(changed(&["x"]), &ignore("thing.a")), None);
        assert_eq!(without_ignored(changed(&["x"]), &ignore("thing.b")), Some(changed(&["x"])));
    }
}
