//! The network that a deployment lives in, one thing of EC2 a file. Creating makes the bare thing; what hangs on it
//! (attributes, an attachment, routes, associations, rules) is looked at and put right by its `update`.
//!
//! ```text
//! vpc <- internet_gateway (attached), subnet, route_table, endpoint, security_group
//!
//! elastic_ip <- nat_gateway -> subnet <- route_table -> internet_gateway or nat_gateway (0.0.0.0/0)
//!                                ^            ^
//!                                |            +------- endpoint (gateway)
//!                                +-------------------- endpoint (interface) -> security_group
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError};
use engine::state::RemoteId;

use super::auth::{id, named};
use crate::wait::Pauses;

pub mod elastic_ip;
pub mod endpoint;
pub mod internet_gateway;
pub mod nat_gateway;
pub mod route_table;
pub mod security_group;
pub mod subnet;
pub mod vpc;

/// What was made a moment ago does not show everywhere at once; what was removed may show a while longer.
const SHOW_LIMIT: Duration = Duration::from_secs(60);
/// Of what AWS itself runs machines for.
const BUILD_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What a look gives, as soon as it gives something.
async fn shown<T, F>(address: &Address, look: impl Fn() -> F) -> Result<T, ProviderError>
where
    F: Future<Output = Result<Option<T>, ProviderError>>,
{
    let mut pauses = Pauses::until(SHOW_LIMIT);
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        pauses.next(format!("{address} is not available")).await?;
    }
}

/// Waits until a look gives nothing.
async fn vanished<T, F>(id: &str, limit: Duration, look: impl Fn() -> F) -> Result<(), ProviderError>
where
    F: Future<Output = Result<Option<T>, ProviderError>>,
{
    let mut pauses = Pauses::until(limit);
    while look().await?.is_some() {
        pauses.next(format!("{id} is still there")).await?;
    }
    Ok(())
}

/// The id in a create's answer; without one nobody knows what was made.
fn made(address: &Address, id: Option<&str>) -> Result<RemoteId, ProviderError> {
    let missing = || ProviderError::new(ErrorKind::Ambiguous, address, "no id in the answer");
    id.map(|id| RemoteId(id.to_owned())).ok_or_else(missing)
}

/// The ids of resources that inputs name by their addresses.
fn ids(desired: &Desired, known: &Known, addresses: &[String]) -> Result<BTreeSet<String>, ProviderError> {
    addresses.iter().map(|address| id(desired, known, address).map(str::to_owned)).collect()
}

/// The addresses that inputs name resources by, sorted as inputs have them.
fn names<'a>(known: &Known, ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<String> = ids.into_iter().map(|id| named(known, id)).collect();
    names.into_iter().collect()
}

/// What is to be added to what is there, and what is to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference<T> {
    missing: Vec<T>,
    surplus: Vec<T>,
}

impl<T: Ord + Clone> Difference<T> {
    fn between(has: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Self {
        Self { missing: wanted.difference(has).cloned().collect(), surplus: has.difference(wanted).cloned().collect() }
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_two_sides() {
        let set = |all: &[&'static str]| all.iter().copied().collect::<BTreeSet<_>>();
        let found = Difference::between(&set(&["a", "b"]), &set(&["b", "c"]));
        assert_eq!(found, Difference { missing: vec!["c"], surplus: vec!["a"] });
        assert!(Difference::between(&set(&["a"]), &set(&["a"])).is_empty());
    }

    #[test]
    fn what_the_state_does_not_know_shows_as_its_id() {
        assert_eq!(names(&Known::empty("l"), ["subnet-2", "subnet-1"]), ["subnet-1", "subnet-2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_repeated_until_it_shows_or_the_time_is_over() {
        let address = Address::new("network", "main");
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            let seen = (looks.get() > 2).then_some("vpc-1");
            async move { Ok(seen) }
        };
        assert_eq!(shown(&address, look).await.unwrap(), "vpc-1");
        let error = vanished("vpc-1", SHOW_LIMIT, || async { Ok(Some(())) }).await.unwrap_err();
        assert_eq!(error.to_string(), "vpc-1 is still there: after 60 s");
    }
}
