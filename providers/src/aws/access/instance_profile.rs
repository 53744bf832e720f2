//! `instance-profile.machine`: what an instance is started with, holding the role. Its id is its name.

use async_trait::async_trait;
use aws_sdk_iam::error::ProvideErrorMetadata;
use aws_sdk_iam::types::{InstanceProfile as Described, Role};
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};

use super::{PATH, iam_tags};
use crate::aws::auth::{Aws, Making, id as id_of, inputs, named};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::InstanceProfileInputs;
use crate::aws::resource::Calls;
use crate::aws::storage::bucket;

#[derive(Debug)]
pub struct InstanceProfile;

#[async_trait]
impl Calls for InstanceProfile {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let profile = described(aws, &resource.remote_id.0).await?;
        let role = |profile: Described| role_name(&profile).map(|name| named(known, name));
        Ok(profile.map(|profile| json!({ "role": role(profile) })))
    }

    async fn find(
        &self,
        aws: &Aws,
        _address: &Address,
        token: &Token,
        _known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let name = bucket::name(&aws.deployment, token);
        Ok(described(aws, &name).await?.map(|_| RemoteId(name)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let name = bucket::name(&aws.deployment, making.token);
        let tags = iam_tags(&aws.mark(making).await?)?;
        let call = aws.act.iam.create_instance_profile().instance_profile_name(&name).path(PATH).set_tags(Some(tags));
        // The name has the token: what is there already is ours.
        done_or(&making.desired.address, &["EntityAlreadyExists"], call.send().await)?;
        Ok(RemoteId(name))
    }

    /// It takes a while until EC2 sees it; starting an instance is tried again until then.
    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: InstanceProfileInputs = inputs(desired)?;
        let role = id_of(desired, known, &inputs.role)?;
        let not_yet = || ProviderError::new(ErrorKind::NotYet, &desired.address, "it does not show yet");
        let profile = described(aws, &id.0).await?.ok_or_else(not_yet)?;
        if role_name(&profile) != Some(role) {
            // It holds one at most.
            remove_roles(aws, &profile).await?;
            add_role(aws, &id.0, role).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(profile) = described(aws, id).await? else { return Ok(()) };
        remove_roles(aws, &profile).await?;
        let call = aws.act.iam.delete_instance_profile().instance_profile_name(id);
        gone(format!("removing {id}"), call.send().await)
    }
}

async fn described(aws: &Aws, name: &str) -> Result<Option<Described>, ProviderError> {
    let answer = aws.look.iam.get_instance_profile().instance_profile_name(name).send().await;
    let answer = found(format!("looking at {name}"), answer)?;
    Ok(answer.and_then(|answer| answer.instance_profile().cloned()))
}

fn role_name(profile: &Described) -> Option<&str> {
    profile.roles().first().map(Role::role_name)
}

async fn add_role(aws: &Aws, profile: &str, role: &str) -> Result<(), ProviderError> {
    let what = format!("putting {role} into {profile}");
    let call = aws.act.iam.add_role_to_instance_profile().instance_profile_name(profile).role_name(role);
    match call.send().await {
        // There is one in it that did not show a moment ago: the next look will show it.
        Err(error) if error.code() == Some("LimitExceeded") => {
            Err(ProviderError::new(ErrorKind::NotYet, what, "it does not show yet which role it holds"))
        }
        answer => answer.map(drop).map_err(failed(what)),
    }
}

async fn remove_roles(aws: &Aws, profile: &Described) -> Result<(), ProviderError> {
    let name = profile.instance_profile_name();
    for role in profile.roles().iter().map(Role::role_name) {
        remove_role(aws, name, role).await?;
    }
    Ok(())
}

/// Takes a role out of an instance profile.
pub(super) async fn remove_role(aws: &Aws, profile: &str, role: &str) -> Result<(), ProviderError> {
    let call = aws.act.iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role);
    gone(format!("taking {role} out of {profile}"), call.send().await)
}
