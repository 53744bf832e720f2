//! `machine.main`: an instance with its one volume.
//!
//! Private, encrypted, metadata by token only, tagged on instance, volume and interface from the first moment.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    Instance, InstanceInterruptionBehavior, InstanceLifecycleType, InstanceMarketOptionsRequest,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification,
    InstanceStateName, InstanceType, MarketType, ResourceType, SpotInstanceType, SpotMarketOptions, Volume,
    VolumeModificationState, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::graph::Desired;
use engine::plan::differing_keys;
use engine::provider::{ErrorKind, Known, ProviderError, Verdict};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};
use spec::machine::Market;

use super::auth::{Aws, Making, id as id_of, inputs, named};
use super::boot::{self, BootFacts};
use super::error::{failed, found, gone};
use super::kind::MachineInputs;
use super::resource::Calls;
use crate::wait::Pauses;

/// Fields that an instance takes while it runs. Volumes are only ever made larger, faster or slower.
const IN_PLACE: [&str; 5] = ["security_group", "termination_protection", "disk_gib", "disk_iops", "disk_mib_a_second"];
/// What shows only when it is not as we make it, and can be put right: see [`oddities`].
const MENDED: [&str; 2] = ["metadata_tokens", "state"];
/// Count only when the machine is made.
const FIRST_BOOT: [&str; 2] = ["boot_script", "dsctl_sha256"];
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
const END_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What changing it would take the running machine's way out or in from it while it serves.
const FIXED: [&str; 1] = ["public"];

/// Whether an instance can get from one set of inputs to another. Pure.
pub fn judge(before: &Value, after: &Value) -> Verdict {
    let keys: Vec<String> =
        differing_keys(before, after).into_iter().filter(|key| !FIRST_BOOT.contains(&key.as_str())).collect();
    if keys.is_empty() {
        return Verdict::Same;
    }
    if let Some(key) = keys.iter().find(|key| FIXED.contains(&key.as_str())) {
        return Verdict::Impossible(format!(
            "{key} can't change while the deployment lives; `dsctl down`, then `dsctl up` with the new one"
        ));
    }
    if keys.iter().any(|key| !IN_PLACE.contains(&key.as_str()) && !MENDED.contains(&key.as_str())) {
        return Verdict::Replace;
    }
    let size = |inputs: &Value| inputs.get("disk_gib").and_then(Value::as_u64);
    match (size(before), size(after)) {
        (Some(before), Some(after)) if after < before => Verdict::Impossible(format!(
            "a disk cannot shrink from {before} to {after} GiB; keep machine.disk_gib at {before} or more"
        )),
        _ => Verdict::InPlace,
    }
}

#[derive(Debug)]
pub struct Machine;

#[async_trait]
impl Calls for Machine {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let Some(instance) = living(aws, &resource.remote_id.0).await? else { return Ok(None) };
        let id = &resource.remote_id.0;
        let volume = root_volume(aws, &instance).await?;
        let protection = is_protected(aws, id).await?;
        Ok(Some(observed(&instance, volume.as_ref(), protection, &resource.inputs, known)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = making.inputs()?;
        let address = &making.desired.address;
        let device = root_device(aws, &inputs.image).await?;
        let script = user_data(aws, making, &inputs)?;
        let mark = aws.mark(making).await?;
        let mut call = aws
            .act
            .ec2
            .run_instances()
            .client_token(&making.token.0)
            .image_id(&inputs.image)
            .instance_type(InstanceType::from(inputs.machine_type.as_str()))
            .min_count(1)
            .max_count(1)
            .network_interfaces(interface(making, &inputs)?)
            .iam_instance_profile(profile(making, &inputs)?)
            .metadata_options(metadata_by_token())
            .block_device_mappings(root_disk(&device, &inputs))
            .ebs_optimized(true)
            .user_data(STANDARD.encode(script));
        for kind in [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface] {
            call = call.tag_specifications(mark.specification(kind));
        }
        call = match inputs.market {
            Market::OnDemand => call.disable_api_termination(inputs.termination_protection),
            Market::Spot => call
                .instance_market_options(one_time_spot())
                .tag_specifications(mark.specification(ResourceType::SpotInstancesRequest)),
        };
        let answer = call.send().await.map_err(failed(address))?;
        let instance = answer.instances().first().and_then(|instance| instance.instance_id());
        let id =
            instance.ok_or_else(|| ProviderError::new(ErrorKind::Ambiguous, address, "no instance in the answer"))?;
        Ok(RemoteId(id.to_owned()))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: MachineInputs = inputs(desired)?;
        let instance = running(aws, &id.0, desired).await?;
        mend_metadata(aws, &instance, desired).await?;
        set_security_group(aws, &instance, id_of(desired, known, &inputs.security_group)?, desired).await?;
        set_protection(aws, &id.0, &inputs, desired).await?;
        set_disk(aws, &instance, &inputs, desired).await?;
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        if !id.starts_with("i-") {
            return delete_part(aws, id).await;
        }
        let Some(instance) = described(aws, id).await? else { return Ok(()) };
        if state(&instance) != InstanceStateName::Terminated {
            if is_protected(aws, id).await? {
                protect(aws, id, &Protection::Off).await?;
            }
            gone(format!("ending {id}"), aws.act.ec2.terminate_instances().instance_ids(id).send().await)?;
        }
        if let Some(request) = instance.spot_instance_request_id() {
            let call = aws.act.ec2.cancel_spot_instance_requests().spot_instance_request_ids(request);
            gone(format!("ending the spot request of {id}"), call.send().await)?;
        }
        wait_until_ended(aws, id).await
    }
}

/// A volume or an interface that a machine left.
async fn delete_part(aws: &Aws, id: &str) -> Result<(), ProviderError> {
    let what = format!("removing {id}");
    match id.split_once('-') {
        Some(("vol", _)) => gone(what, aws.act.ec2.delete_volume().volume_id(id).send().await),
        Some(("eni", _)) => gone(what, aws.act.ec2.delete_network_interface().network_interface_id(id).send().await),
        _ => Err(ProviderError::permanent(what, "this dsctl does not know what it is")),
    }
}

/// The instance in whatever state; none if EC2 does not know it any more.
async fn described(aws: &Aws, id: &str) -> Result<Option<Instance>, ProviderError> {
    let answer = aws.look.ec2.describe_instances().instance_ids(id).send().await;
    let answer = found(format!("looking at {id}"), answer)?;
    Ok(answer.and_then(|answer| answer.reservations().iter().flat_map(|all| all.instances()).next().cloned()))
}

/// The instance, unless it is gone or going.
async fn living(aws: &Aws, id: &str) -> Result<Option<Instance>, ProviderError> {
    let over = [InstanceStateName::Terminated, InstanceStateName::ShuttingDown];
    Ok(described(aws, id).await?.filter(|instance| !over.contains(&state(instance))))
}

fn state(instance: &Instance) -> InstanceStateName {
    instance.state().and_then(|state| state.name()).cloned().unwrap_or(InstanceStateName::Pending)
}

async fn root_volume(aws: &Aws, instance: &Instance) -> Result<Option<Volume>, ProviderError> {
    let Some(id) = root_volume_id(instance) else { return Ok(None) };
    let answer = found(format!("looking at {id}"), aws.look.ec2.describe_volumes().volume_ids(id).send().await)?;
    Ok(answer.and_then(|answer| answer.volumes().first().cloned()))
}

fn root_volume_id(instance: &Instance) -> Option<&str> {
    let root = instance.root_device_name()?;
    let mapping = instance.block_device_mappings().iter().find(|mapping| mapping.device_name() == Some(root));
    // A pending instance may not show its root's name on the mapping yet.
    mapping.or(instance.block_device_mappings().first())?.ebs()?.volume_id()
}

async fn is_protected(aws: &Aws, id: &str) -> Result<bool, ProviderError> {
    let attribute = aws_sdk_ec2::types::InstanceAttributeName::DisableApiTermination;
    let call = aws.look.ec2.describe_instance_attribute().instance_id(id).attribute(attribute);
    let answer = found(format!("looking at the protection of {id}"), call.send().await)?;
    Ok(answer.and_then(|answer| answer.disable_api_termination()?.value()).unwrap_or_default())
}

/// In the shape of [`MachineInputs`]; what AWS does not tell is as it was recorded.
fn observed(instance: &Instance, volume: Option<&Volume>, protected: bool, recorded: &Value, known: &Known) -> Value {
    let group = instance.security_groups().first().and_then(|group| group.group_id());
    let profile = instance.iam_instance_profile().and_then(|profile| profile.arn());
    let profile = profile.and_then(|arn| arn.rsplit('/').next());
    let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    let told = |value: Option<i32>, key: &str| value.map_or_else(|| recorded[key].clone(), Value::from);
    let mut seen = json!({
        "machine_type": instance.instance_type().map(InstanceType::as_str),
        "subnet": instance.subnet_id().map(|id| named(known, id)),
        "market": if is_spot { Market::Spot } else { Market::OnDemand },
        "image": instance.image_id(),
        "security_group": group.map(|id| named(known, id)),
        "instance_profile": profile.map(|name| named(known, name)),
        "bucket": recorded["bucket"],
        "disk_gib": told(volume.and_then(Volume::size), "disk_gib"),
        "disk_iops": told(volume.and_then(Volume::iops), "disk_iops"),
        "disk_mib_a_second": told(volume.and_then(Volume::throughput), "disk_mib_a_second"),
        "public": is_public(instance).map_or_else(|| recorded["public"].clone(), Value::from),
        "termination_protection": protected,
        "boot_script": recorded["boot_script"],
        "dsctl_sha256": recorded["dsctl_sha256"],
    });
    if let Some(fields) = seen.as_object_mut() {
        fields.extend(oddities(instance, volume));
    }
    seen
}

/// A machine that does not run shows no address.
fn is_public(instance: &Instance) -> Option<bool> {
    let runs = state(instance) == InstanceStateName::Running;
    runs.then(|| instance.public_ip_address().is_some_and(|address| !address.is_empty()))
}

/// What is not as we always make it.
fn oddities(instance: &Instance, volume: Option<&Volume>) -> serde_json::Map<String, Value> {
    let mut odd = serde_json::Map::new();
    let tokens = instance.metadata_options().and_then(|options| options.http_tokens());
    if tokens.is_some_and(|tokens| *tokens != HttpTokensState::Required) {
        odd.insert("metadata_tokens".to_owned(), json!("optional"));
    }
    if volume.is_some_and(|volume| volume.encrypted() != Some(true)) {
        odd.insert("encrypted".to_owned(), json!(false));
    }
    let state = state(instance);
    if matches!(state, InstanceStateName::Stopped | InstanceStateName::Stopping) {
        odd.insert("state".to_owned(), json!(state.as_str()));
    }
    odd
}

async fn root_device(aws: &Aws, image: &str) -> Result<String, ProviderError> {
    let answer =
        aws.look.ec2.describe_images().image_ids(image).send().await.map_err(failed(format!("image {image}")))?;
    let device = answer.images().first().and_then(|image| image.root_device_name());
    let missing = || ProviderError::permanent(format!("image {image}"), "there is no such image in this region");
    device.map(str::to_owned).ok_or_else(missing)
}

fn user_data(aws: &Aws, making: &Making<'_>, inputs: &MachineInputs) -> Result<String, ProviderError> {
    let address = &making.desired.address;
    let facts = BootFacts {
        bucket: making.id(&inputs.bucket)?,
        region: &aws.region,
        dsctl_sha256: &inputs.dsctl_sha256,
        endpoint: aws.s3_endpoint.as_deref().unwrap_or_default(),
    };
    boot::render(&inputs.boot_script, &facts).map_err(|error| ProviderError::permanent(address, error))
}

fn interface(
    making: &Making<'_>,
    inputs: &MachineInputs,
) -> Result<InstanceNetworkInterfaceSpecification, ProviderError> {
    Ok(InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(making.id(&inputs.subnet)?)
        .groups(making.id(&inputs.security_group)?)
        .associate_public_ip_address(inputs.public)
        .delete_on_termination(true)
        .build())
}

fn profile(making: &Making<'_>, inputs: &MachineInputs) -> Result<IamInstanceProfileSpecification, ProviderError> {
    Ok(IamInstanceProfileSpecification::builder().name(making.id(&inputs.instance_profile)?).build())
}

/// Version 2 of the metadata service only, and one hop, so that no container and no forwarded request reads the role's keys.
fn metadata_by_token() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::Required)
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_put_response_hop_limit(1)
        .build()
}

fn root_disk(device: &str, inputs: &MachineInputs) -> BlockDeviceMapping {
    let disk = EbsBlockDevice::builder()
        .encrypted(true)
        .volume_type(VolumeType::Gp3)
        .volume_size(whole(inputs.disk_gib))
        .iops(whole(inputs.disk_iops))
        .throughput(whole(inputs.disk_mib_a_second))
        .delete_on_termination(true);
    BlockDeviceMapping::builder().device_name(device).ebs(disk.build()).build()
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn one_time_spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(options.build()).build()
}

/// Waits until it runs; starts one that somebody stopped.
async fn running(aws: &Aws, id: &str, desired: &Desired) -> Result<Instance, ProviderError> {
    let mut pauses = Pauses::until(START_LIMIT);
    loop {
        // Not seen yet: what was made a moment ago.
        if let Some(instance) = described(aws, id).await? {
            match state(&instance) {
                InstanceStateName::Running => return Ok(instance),
                InstanceStateName::Stopped => {
                    let call = aws.act.ec2.start_instances().instance_ids(id);
                    call.send().await.map_err(failed(format!("starting {}", desired.address)))?;
                }
                InstanceStateName::Terminated | InstanceStateName::ShuttingDown => {
                    return Err(ended(&instance, desired));
                }
                _ => {}
            }
        }
        pauses.next(format!("{} does not run", desired.address)).await?;
    }
}

/// Why an instance ended before it ran: lack of capacity may show only here.
fn ended(instance: &Instance, desired: &Desired) -> ProviderError {
    let reason = instance.state_reason();
    let code = reason.and_then(|reason| reason.code()).unwrap_or("no reason given");
    let message = reason.and_then(|reason| reason.message()).unwrap_or_default();
    let kind = match code {
        "Server.InsufficientInstanceCapacity" | "Server.SpotInstanceTermination" => ErrorKind::Capacity,
        "Client.VolumeLimitExceeded" => ErrorKind::Quota,
        // The token leads to this instance and no other.
        _ => ErrorKind::TokenSpent,
    };
    ProviderError::new(kind, &desired.address, format!("the instance ended before it ran: {code} {message}"))
}

async fn mend_metadata(aws: &Aws, instance: &Instance, desired: &Desired) -> Result<(), ProviderError> {
    if !oddities(instance, None).contains_key("metadata_tokens") {
        return Ok(());
    }
    let call =
        aws.act.ec2.modify_instance_metadata_options().set_instance_id(instance.instance_id().map(str::to_owned));
    let call = call.http_tokens(HttpTokensState::Required).http_put_response_hop_limit(1);
    call.send().await.map(|_| ()).map_err(failed(format!("metadata options of {}", desired.address)))
}

async fn set_security_group(
    aws: &Aws,
    instance: &Instance,
    group: &str,
    desired: &Desired,
) -> Result<(), ProviderError> {
    let has: Vec<&str> = instance.security_groups().iter().filter_map(|group| group.group_id()).collect();
    if has == [group] {
        return Ok(());
    }
    let call = aws.act.ec2.modify_instance_attribute().set_instance_id(instance.instance_id().map(str::to_owned));
    let changed = call.groups(group).send().await;
    changed.map(|_| ()).map_err(failed(format!("security group of {}", desired.address)))
}

enum Protection {
    On,
    Off,
}

async fn set_protection(aws: &Aws, id: &str, inputs: &MachineInputs, desired: &Desired) -> Result<(), ProviderError> {
    // AWS refuses it for spot instances, which it ends by itself.
    let wanted = inputs.termination_protection && inputs.market == Market::OnDemand;
    if is_protected(aws, id).await? == wanted {
        return Ok(());
    }
    let changed = protect(aws, id, if wanted { &Protection::On } else { &Protection::Off }).await;
    changed.map_err(|error| ProviderError { what: format!("{}: {}", desired.address, error.what), ..error })
}

async fn protect(aws: &Aws, id: &str, protection: &Protection) -> Result<(), ProviderError> {
    let value = AttributeBooleanValue::builder().value(matches!(protection, Protection::On)).build();
    let call = aws.act.ec2.modify_instance_attribute().instance_id(id).disable_api_termination(value);
    call.send().await.map(|_| ()).map_err(failed(format!("termination protection of {id}")))
}

async fn set_disk(
    aws: &Aws,
    instance: &Instance,
    inputs: &MachineInputs,
    desired: &Desired,
) -> Result<(), ProviderError> {
    let Some(volume) = root_volume(aws, instance).await? else { return Ok(()) };
    let wanted = [whole(inputs.disk_gib), whole(inputs.disk_iops), whole(inputs.disk_mib_a_second)];
    let has = [volume.size(), volume.iops(), volume.throughput()];
    if has.iter().zip(wanted).all(|(has, wanted)| has.is_none_or(|has| has == wanted)) {
        return Ok(());
    }
    if is_on_its_way(aws, &volume, wanted).await? {
        return Ok(());
    }
    let call = aws.act.ec2.modify_volume().set_volume_id(volume.volume_id().map(str::to_owned));
    let call = call.size(wanted[0]).iops(wanted[1]).throughput(wanted[2]);
    call.send().await.map(|_| ()).map_err(failed(format!("disk of {}", desired.address)))
}

/// Whether an earlier change with the same target goes on: EBS takes hours, and no second change for six.
async fn is_on_its_way(aws: &Aws, volume: &Volume, wanted: [i32; 3]) -> Result<bool, ProviderError> {
    let id = volume.volume_id().unwrap_or_default();
    let answer = aws.look.ec2.describe_volumes_modifications().volume_ids(id).send().await;
    let answer = found(format!("changes of {id}"), answer)?;
    let changes = answer.as_ref().map(|answer| answer.volumes_modifications()).unwrap_or_default();
    let over = [VolumeModificationState::Completed, VolumeModificationState::Failed];
    Ok(changes.iter().any(|change| {
        let target = [change.target_size(), change.target_iops(), change.target_throughput()];
        let goes_on = change.modification_state().is_some_and(|state| !over.contains(state));
        goes_on && target == wanted.map(Some)
    }))
}

async fn wait_until_ended(aws: &Aws, id: &str) -> Result<(), ProviderError> {
    let mut pauses = Pauses::until(END_LIMIT);
    while described(aws, id).await?.is_some_and(|instance| state(&instance) != InstanceStateName::Terminated) {
        pauses.next(format!("{id} does not end")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(key: &str, value: Value) -> Verdict {
        let before = json!({"machine_type": "g6e.12xlarge", "subnet": "subnet.private-a", "market": "on-demand",
            "image": "ami-1", "instance_profile": "p", "security_group": "g", "public": false, "disk_gib": 200,
            "disk_iops": 3000, "termination_protection": true, "boot_script": "x"});
        let mut after = before.clone();
        after[key] = value;
        judge(&before, &after)
    }

    #[test]
    fn each_field_has_its_way() {
        assert!(matches!(judged("public", json!(true)), Verdict::Impossible(_)));
        for key in ["machine_type", "subnet", "market", "image", "instance_profile"] {
            assert_eq!(judged(key, json!("other")), Verdict::Replace, "{key}");
        }
        assert_eq!(judged("security_group", json!("h")), Verdict::InPlace);
        assert_eq!(judged("termination_protection", json!(false)), Verdict::InPlace);
        assert_eq!(judged("disk_iops", json!(6000)), Verdict::InPlace);
        assert_eq!(judged("boot_script", json!("y")), Verdict::Same);
    }

    #[test]
    fn a_disk_grows_and_never_shrinks() {
        assert_eq!(judged("disk_gib", json!(300)), Verdict::InPlace);
        assert!(matches!(judged("disk_gib", json!(100)), Verdict::Impossible(_)));
    }
}
