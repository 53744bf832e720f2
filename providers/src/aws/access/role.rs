//! `role.machine`: reads artifacts, secrets and the host's folder, writes into the host's folder; nothing else. Its id is
//! its name.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Map, Value, json};

use super::{PATH, all, decoded, iam_tags, instance_profile, partition, same_policy};
use crate::aws::auth::{Aws, Making, id as id_of, inputs};
use crate::aws::error::{done_or, failed, found, gone};
use crate::aws::kind::RoleInputs;
use crate::aws::resource::Calls;
use crate::aws::storage::bucket;

/// What its agent asks for on a machine, none of which can be bound to one; no more than that.
const SESSION_MANAGER: [&str; 5] = [
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// The name of the one inline policy.
const POLICY: &str = "dsctl";

#[derive(Debug)]
pub struct Role;

#[async_trait]
impl Calls for Role {
    async fn read(&self, aws: &Aws, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let seen = look(aws, &resource.remote_id.0).await?;
        Ok(seen.map(|seen| observed(&seen, &resource.inputs, known, partition(&aws.region))))
    }

    async fn find(
        &self,
        aws: &Aws,
        _address: &Address,
        token: &Token,
        _known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let name = bucket::name(&aws.deployment, token);
        let answer = aws.look.iam.get_role().role_name(&name).send().await;
        Ok(found(format!("looking for {name}"), answer)?.map(|_| RemoteId(name)))
    }

    async fn create(&self, aws: &Aws, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let name = bucket::name(&aws.deployment, making.token);
        let tags = iam_tags(&aws.mark(making).await?)?;
        let call = aws
            .act
            .iam
            .create_role()
            .role_name(&name)
            .path(PATH)
            .assume_role_policy_document(trust().to_string())
            .description(format!("What the machine of the dsctl deployment {} may do", aws.deployment))
            .set_tags(Some(tags));
        // The name has the token: what is there already is ours.
        done_or(&making.desired.address, &["EntityAlreadyExists"], call.send().await)?;
        Ok(RemoteId(name))
    }

    async fn update(
        &self,
        aws: &Aws,
        id: &RemoteId,
        desired: &Desired,
        known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        let inputs: RoleInputs = inputs(desired)?;
        let wanted = policy(id_of(desired, known, &inputs.bucket)?, &inputs, partition(&aws.region));
        let not_yet = || ProviderError::new(ErrorKind::NotYet, &desired.address, "it does not show yet");
        let seen = look(aws, &id.0).await?.ok_or_else(not_yet)?;
        take_away(aws, &id.0, &seen).await?;
        if !seen.trust.is_some_and(|seen| same_policy(&seen, &trust())) {
            set_trust(aws, &id.0).await?;
        }
        if !seen.policy.is_some_and(|seen| same_policy(&seen, &wanted)) {
            set_policy(aws, &id.0, &wanted).await?;
        }
        Ok(id.clone())
    }

    async fn delete(&self, aws: &Aws, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let id = &resource.remote_id.0;
        let Some(seen) = look(aws, id).await? else { return Ok(()) };
        take_away(aws, id, &seen).await?;
        if seen.policy.is_some() {
            remove_policy(aws, id, POLICY).await?;
        }
        leave_profiles(aws, id).await?;
        gone(format!("removing {id}"), aws.act.iam.delete_role().role_name(id).send().await)
    }
}

/// Who may be the role, and what it may do.
#[derive(Debug, Default)]
struct Seen {
    trust: Option<Value>,
    policy: Option<Value>,
    /// ARNs of managed policies that somebody attached.
    attached: Vec<String>,
    /// Names of inline policies that are not ours.
    others: Vec<String>,
}

fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    })
}

fn policy(bucket: &str, inputs: &RoleInputs, partition: &str) -> Value {
    let under = |prefix: &str| format!("arn:{partition}:s3:::{bucket}/{prefix}/*");
    let mut statements = vec![
        json!({"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject",
            "Resource": [under("artifacts"), under("host"), under("secrets")]}),
        json!({"Sid": "Report", "Effect": "Allow", "Action": "s3:PutObject", "Resource": under("host")}),
    ];
    if !inputs.weights.is_empty() {
        let objects: Vec<String> = inputs.weights.iter().map(|at| format!("arn:{partition}:s3:::{at}")).collect();
        statements.push(json!({"Sid": "Weights", "Effect": "Allow", "Action": "s3:GetObject", "Resource": objects}));
    }
    if inputs.session_manager {
        statements
            .push(json!({"Sid": "SessionManager", "Effect": "Allow", "Action": SESSION_MANAGER, "Resource": "*"}));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The bucket that a policy of ours speaks of.
fn bucket_of(policy: &Value) -> Option<&str> {
    let resource = policy.pointer("/Statement/0/Resource/0")?.as_str()?;
    let (bucket, _) = resource.split_once(":::")?.1.split_once('/')?;
    Some(bucket)
}

/// In the shape of [`RoleInputs`]. A role whose policy is not ours is still the recorded bucket's: its policy is put right.
fn observed(seen: &Seen, recorded: &Value, known: &Known, partition: &str) -> Value {
    let bucket = seen.policy.as_ref().and_then(bucket_of).and_then(|id| known.address_of(id));
    let bucket = bucket.map_or_else(|| recorded["bucket"].clone(), |address| json!(address.to_string()));
    let id = bucket.as_str().and_then(Address::parse).and_then(|address| known.id(&address));
    // What else it was given is as recorded, or the policy is another.
    let recorded = RoleInputs {
        bucket: bucket.as_str().unwrap_or_default().to_owned(),
        ..serde_json::from_value(recorded.clone()).unwrap_or_default()
    };
    let mut fields = match serde_json::to_value(&recorded) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let wanted = |id: &RemoteId| policy(&id.0, &recorded, partition);
    let is_ours = |seen: &Value| id.is_some_and(|id| same_policy(seen, &wanted(id)));
    if !seen.policy.as_ref().is_some_and(is_ours) {
        fields.insert("policy".to_owned(), json!("other"));
    }
    if !seen.trust.as_ref().is_some_and(|seen| same_policy(seen, &trust())) {
        fields.insert("trust".to_owned(), json!("other"));
    }
    for (key, more) in [("attached_policies", &seen.attached), ("other_policies", &seen.others)] {
        if !more.is_empty() {
            fields.insert(key.to_owned(), json!(more));
        }
    }
    Value::Object(fields)
}

async fn look(aws: &Aws, name: &str) -> Result<Option<Seen>, ProviderError> {
    let iam = &aws.look.iam;
    let what = format!("looking at {name}");
    let Some(answer) = found(&what, iam.get_role().role_name(name).send().await)? else { return Ok(None) };
    let inline = all!(iam.list_role_policies().role_name(name)).await;
    let attached = all!(iam.list_attached_role_policies().role_name(name)).await;
    let attached = found(&what, attached)?.unwrap_or_default();
    Ok(Some(Seen {
        trust: answer.role().and_then(|role| role.assume_role_policy_document()).and_then(decoded),
        policy: own_policy(aws, name).await?,
        attached: attached.iter().filter_map(|it| it.policy_arn().map(str::to_owned)).collect(),
        others: found(&what, inline)?.into_iter().flatten().filter(|name| name != POLICY).collect(),
    }))
}

async fn own_policy(aws: &Aws, name: &str) -> Result<Option<Value>, ProviderError> {
    let answer = aws.look.iam.get_role_policy().role_name(name).policy_name(POLICY).send().await;
    let answer = found(format!("the policy of {name}"), answer)?;
    // One that can't be read is there all the same.
    Ok(answer.map(|answer| decoded(answer.policy_document()).unwrap_or_default()))
}

/// What others gave the role.
async fn take_away(aws: &Aws, name: &str, seen: &Seen) -> Result<(), ProviderError> {
    for arn in &seen.attached {
        let call = aws.act.iam.detach_role_policy().role_name(name).policy_arn(arn);
        gone(format!("detaching {arn} from {name}"), call.send().await)?;
    }
    for other in &seen.others {
        remove_policy(aws, name, other).await?;
    }
    Ok(())
}

async fn remove_policy(aws: &Aws, name: &str, policy: &str) -> Result<(), ProviderError> {
    let call = aws.act.iam.delete_role_policy().role_name(name).policy_name(policy);
    gone(format!("removing the policy {policy} of {name}"), call.send().await)
}

async fn set_trust(aws: &Aws, name: &str) -> Result<(), ProviderError> {
    let call = aws.act.iam.update_assume_role_policy().role_name(name).policy_document(trust().to_string());
    call.send().await.map(drop).map_err(failed(format!("who may be {name}")))
}

async fn set_policy(aws: &Aws, name: &str, policy: &Value) -> Result<(), ProviderError> {
    let call = aws.act.iam.put_role_policy().role_name(name).policy_name(POLICY).policy_document(policy.to_string());
    call.send().await.map(drop).map_err(failed(format!("the policy of {name}")))
}

async fn leave_profiles(aws: &Aws, name: &str) -> Result<(), ProviderError> {
    let profiles = all!(aws.look.iam.list_instance_profiles_for_role().role_name(name)).await;
    for profile in found(format!("instance profiles of {name}"), profiles)?.unwrap_or_default() {
        instance_profile::remove_role(aws, profile.instance_profile_name(), name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: &str = "dsctl-default-00000000000000aa";

    /// A state that knows of the bucket.
    fn known() -> Known {
        let bucket = Resource::unread(RemoteId(BUCKET.to_owned()));
        let resources = [(Address::new("bucket", "main"), bucket)].into();
        Known::of(&engine::state::State::of("default".parse().unwrap(), "l".to_owned(), resources))
    }

    fn inputs_of_tests() -> RoleInputs {
        RoleInputs { bucket: "bucket.main".to_owned(), weights: Vec::new(), session_manager: false }
    }

    fn made() -> Seen {
        Seen { trust: Some(trust()), policy: Some(policy(BUCKET, &inputs_of_tests(), "aws")), ..Seen::default() }
    }

    #[test]
    fn the_machine_reads_and_reports_and_does_nothing_else() {
        let policy = policy("b", &inputs_of_tests(), "aws-cn");
        let actions: Vec<&str> =
            policy["Statement"].as_array().unwrap().iter().filter_map(|it| it["Action"].as_str()).collect();
        assert_eq!(actions, ["s3:GetObject", "s3:PutObject"]);
        assert_eq!(policy["Statement"][1]["Resource"], "arn:aws-cn:s3:::b/host/*");
        assert_eq!(bucket_of(&policy), Some("b"));
        assert_eq!(bucket_of(&json!({"Statement": []})), None);
    }

    #[test]
    fn a_role_as_it_was_made_shows_its_bucket_only() {
        assert_eq!(observed(&made(), &Value::Null, &known(), "aws"), json!({"bucket": "bucket.main"}));
    }

    #[test]
    fn weights_are_read_object_by_object_and_a_session_needs_its_own_rights() {
        let inputs = RoleInputs { weights: vec!["w/70b.gguf".to_owned()], session_manager: true, ..inputs_of_tests() };
        let policy = policy(BUCKET, &inputs, "aws");
        assert_eq!(policy["Statement"][2]["Resource"], json!(["arn:aws:s3:::w/70b.gguf"]));
        assert_eq!(policy["Statement"][3]["Sid"], "SessionManager");
        let seen = Seen { policy: Some(policy), ..made() };
        let recorded = serde_json::to_value(&inputs).unwrap();
        assert_eq!(observed(&seen, &recorded, &known(), "aws"), recorded);
    }

    #[test]
    fn whatever_somebody_gave_or_took_shows() {
        let recorded = json!({"bucket": "bucket.main"});
        let shown = |seen: &Seen| observed(seen, &recorded, &known(), "aws");
        let bare = Seen { policy: None, ..made() };
        assert_eq!(shown(&bare), json!({"bucket": "bucket.main", "policy": "other"}));
        let open = Seen { trust: None, ..made() };
        assert_eq!(shown(&open), json!({"bucket": "bucket.main", "trust": "other"}));
        let given = Seen { attached: vec!["arn:aws:iam::aws:policy/AdministratorAccess".to_owned()], ..made() };
        assert!(shown(&given)["attached_policies"].is_array());
    }
}
