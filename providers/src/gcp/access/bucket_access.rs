//! `access.machine`: what of the bucket the machine's account may do. It reads programs, secrets and its host spec, it writes
//! its own folder, and it changes neither what it is to be nor what anybody else wrote.

use async_trait::async_trait;
use engine::graph::{Address, Desired};
use engine::provider::{ErrorKind, Known, ProviderError, Token};
use engine::state::{RemoteId, Resource};
use serde_json::{Value, json};
use spec::layout::BucketLayout;

use super::policy::{self, Binding, Condition, Policy};
use super::service_account;
use crate::cloud::host_name;
use crate::gcp::auth::{Gcp, Making, id as id_of, named};
use crate::gcp::kind::{self, AccessInputs};
use crate::gcp::resource::Calls;

const READER: &str = "roles/storage.objectViewer";
const WRITER: &str = "roles/storage.objectUser";

#[derive(Debug)]
pub struct BucketAccess;

/// `iam://BUCKET/EMAIL`: a binding has no name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    bucket: String,
    email: String,
}

impl Grant {
    fn parse(id: &str) -> Result<Self, ProviderError> {
        let parts = id.strip_prefix("iam://").and_then(|rest| rest.split_once('/'));
        let (bucket, email) = parts.ok_or_else(|| ProviderError::permanent(id, "it is no iam://BUCKET/ACCOUNT"))?;
        Ok(Self { bucket: bucket.to_owned(), email: email.to_owned() })
    }

    fn of(desired: &Desired, known: &Known) -> Result<Self, ProviderError> {
        let inputs: AccessInputs = crate::gcp::auth::inputs(desired)?;
        let email = service_account::email(id_of(desired, known, &inputs.service_account)?)?;
        Ok(Self { bucket: id_of(desired, known, &inputs.bucket)?.to_owned(), email: email.to_owned() })
    }

    fn id(&self) -> RemoteId {
        RemoteId(format!("iam://{}/{}", self.bucket, self.email))
    }

    fn member(&self) -> String {
        format!("serviceAccount:{}", self.email)
    }

    fn wanted(&self) -> Result<Vec<Binding>, ProviderError> {
        let host = host_name().map_err(|error| ProviderError::permanent("the host's name", error))?;
        let objects = format!("projects/_/buckets/{}/objects/", self.bucket);
        let desired = format!("resource.name == '{objects}{}'", BucketLayout::desired_key(&host));
        let under = |folder: &str| format!("resource.name.startsWith('{objects}{folder}/')");
        let reads = format!("{} || {} || {desired}", under("artifacts"), under("secrets"));
        let writes = format!("{} && !({desired})", under(&format!("host/{host}")));
        let binding = |role, title: &str, expression| {
            let condition = Condition { title: title.to_owned(), description: None, expression };
            Binding::new(role, &self.member(), Some(condition))
        };
        Ok(vec![binding(READER, "dsctl-reads", reads), binding(WRITER, "dsctl-reports", writes)])
    }
}

#[async_trait]
impl Calls for BucketAccess {
    async fn read(&self, gcp: &Gcp, resource: &Resource, known: &Known) -> Result<Option<Value>, ProviderError> {
        let grant = Grant::parse(&resource.remote_id.0)?;
        let Some(policy) = policy::load(gcp, &grant.bucket).await? else { return Ok(None) };
        observed(&grant, &policy, known, &gcp.project)
    }

    /// A binding carries no token: it is this intent's if it is there, since only one can be.
    async fn find(
        &self,
        gcp: &Gcp,
        _address: &Address,
        _token: &Token,
        known: &Known,
    ) -> Result<Option<RemoteId>, ProviderError> {
        let id = |kind, name| known.id(&Address::new(kind, name));
        let (Some(bucket), Some(account)) = (id(kind::BUCKET, "main"), id(kind::SERVICE_ACCOUNT, "machine")) else {
            return Ok(None);
        };
        let grant = Grant { bucket: bucket.0.clone(), email: service_account::email(&account.0)?.to_owned() };
        let policy = policy::load(gcp, &grant.bucket).await?.unwrap_or_default();
        Ok((!policy.of(&grant.member()).is_empty()).then(|| grant.id()))
    }

    async fn create(&self, gcp: &Gcp, making: &Making<'_>) -> Result<RemoteId, ProviderError> {
        let grant = Grant::of(making.desired, making.known)?;
        give(gcp, &grant, &making.desired.address).await?;
        Ok(grant.id())
    }

    async fn update(
        &self,
        gcp: &Gcp,
        id: &RemoteId,
        desired: &Desired,
        _known: &Known,
    ) -> Result<RemoteId, ProviderError> {
        give(gcp, &Grant::parse(&id.0)?, &desired.address).await?;
        Ok(id.clone())
    }

    async fn delete(&self, gcp: &Gcp, resource: &Resource, _known: &Known) -> Result<(), ProviderError> {
        let grant = Grant::parse(&resource.remote_id.0)?;
        let Some(policy) = policy::load(gcp, &grant.bucket).await? else { return Ok(()) };
        let member = grant.member();
        if policy.of(&member).is_empty() {
            return Ok(());
        }
        policy::store(gcp, &grant.bucket, &policy.giving(&member, &[])).await
    }
}

/// No call where everything is as it should be.
async fn give(gcp: &Gcp, grant: &Grant, address: &Address) -> Result<(), ProviderError> {
    let not_yet = || ProviderError::new(ErrorKind::NotYet, address, format!("{} does not show yet", grant.bucket));
    let policy = policy::load(gcp, &grant.bucket).await?.ok_or_else(not_yet)?;
    let (member, wanted) = (grant.member(), grant.wanted()?);
    if policy.gives(&member, &wanted) {
        return Ok(());
    }
    policy::store(gcp, &grant.bucket, &policy.giving(&member, &wanted)).await
}

/// In the shape of [`AccessInputs`]; what else the account may do there shows as a further key.
fn observed(grant: &Grant, policy: &Policy, known: &Known, project: &str) -> Result<Option<Value>, ProviderError> {
    let member = grant.member();
    if policy.of(&member).is_empty() {
        return Ok(None);
    }
    let account = service_account::id_of(project, &grant.email);
    let mut seen = json!({ "bucket": named(known, &grant.bucket), "service_account": named(known, &account.0) });
    if !policy.gives(&member, &grant.wanted()?) {
        seen["bindings"] = json!("other");
    }
    Ok(Some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant { bucket: "b".to_owned(), email: "dsctl-1@p.iam.gserviceaccount.com".to_owned() }
    }

    fn shown(policy: &Policy) -> Option<Value> {
        observed(&grant(), policy, &Known::empty("l"), "p").unwrap()
    }

    #[test]
    fn the_machine_reads_what_it_is_made_of_and_writes_only_what_it_reports() {
        let wanted = grant().wanted().unwrap();
        let expression = |at: usize| wanted[at].condition.as_ref().unwrap().expression.clone();
        assert_eq!(
            expression(0),
            "resource.name.startsWith('projects/_/buckets/b/objects/artifacts/') || \
             resource.name.startsWith('projects/_/buckets/b/objects/secrets/') || \
             resource.name == 'projects/_/buckets/b/objects/host/main/desired.json'"
        );
        assert_eq!(
            expression(1),
            "resource.name.startsWith('projects/_/buckets/b/objects/host/main/') && \
             !(resource.name == 'projects/_/buckets/b/objects/host/main/desired.json')"
        );
        assert_eq!((wanted[0].role.as_str(), wanted[1].role.as_str()), (READER, WRITER));
    }

    #[test]
    fn an_access_as_it_was_made_shows_its_inputs_only() {
        let policy = Policy::default().giving(&grant().member(), &grant().wanted().unwrap());
        let expected =
            json!({"bucket": "b", "service_account": "projects/p/serviceAccounts/dsctl-1@p.iam.gserviceaccount.com"});
        assert_eq!(shown(&policy), Some(expected));
        assert_eq!(shown(&Policy::default()), None);
    }

    #[test]
    fn whatever_somebody_gave_besides_shows() {
        let mut wanted = grant().wanted().unwrap();
        wanted.push(Binding::new("roles/storage.admin", &grant().member(), None));
        let policy = Policy::default().giving(&grant().member(), &wanted);
        assert_eq!(shown(&policy).unwrap()["bindings"], "other");
    }

    #[test]
    fn an_id_leads_to_bucket_and_account() {
        assert_eq!(Grant::parse(&grant().id().0).unwrap(), grant());
        assert!(Grant::parse("gs://b/k").is_err());
    }
}
