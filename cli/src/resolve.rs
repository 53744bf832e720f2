//! Deployment -> ResolvedSpec: defaults, names and sizes filled in; what can't be is an error that says where.

use advisor::model::Family;
use advisor::{Catalogue, ModelChoice};
use guards::Guards;
use spec::audit::{AuditPolicy, AuditWish};
use spec::deployment::{ApiWish, BaselineWish, CertificateWish, Cloud, DaemonWish, Deployment, WeightsWish};
use spec::encryption_key::{EncryptionKey, InvalidEncryptionKey};
use spec::guards::GuardsConfig;
use spec::machine::{BudgetWish, MachineWish, NetworkWish, Pack, Tls};
use spec::monitoring::{Monitoring, MonitoringWish, Part};
use spec::resolved::{
    KeySource, PortChoice, ResolvedApi, ResolvedBaseline, ResolvedDaemon, ResolvedModel, ResolvedSpec, ResolvedTls,
};
use spec::route::CacheConfig;
use spec::weights::WeightsSpec;

use crate::exit::Failure;

const DEFAULT_PORT: u16 = 8080;
const DEFAULT_CLOUD_PORT: u16 = 443;
const DEFAULT_MAX_SEQUENCES: u32 = 8;

/// Fills a deployment in, or says what is missing or wrong. The machine of a cloud is chosen later, from its offers.
pub fn resolve(deployment: Deployment, catalogue: &Catalogue) -> Result<ResolvedSpec, Failure> {
    let cloud = deployment.cloud.unwrap_or(Cloud::Local);
    if cloud == Cloud::Local {
        refuse_cloud_wishes(&deployment)?;
    }
    let monitoring = monitoring(deployment.monitoring)?;
    let guards = deployment.guards.map(checked_guards).transpose()?;
    let encryption_key = deployment.encryption_key.map(|key| encryption_key(cloud, &key)).transpose()?;
    let cache = deployment.cache.map(checked_cache).transpose()?;
    let audit = resolve_audit(cloud, deployment.audit, guards.is_some(), &deployment.compliance)?;
    let Some(name) = deployment.model else {
        return Err(Failure::usage("model: none is named").next("dsctl models"));
    };
    let model = match deployment.weights {
        None => look_up(catalogue, "model", &name)?,
        Some(wish) => with_own_weights(catalogue, &name, wish)?,
    };
    refuse_unserved(catalogue, &model)?;
    let daemon = resolve_daemon(&deployment.daemon)?;
    let tls = resolve_tls(cloud, deployment.network.tls, deployment.gateway.certificate)?;
    let spare = deployment.spare.map(|wish| resolve_api("spare", wish)).transpose()?;
    let baseline = deployment.baseline.map(|wish| resolve_baseline(wish, catalogue, &model)).transpose()?;
    Ok(ResolvedSpec {
        name: match deployment.name {
            Some(name) => name,
            None => "default".parse().map_err(Failure::failed)?,
        },
        cloud,
        model,
        gateway_port: gateway_port(cloud, deployment.gateway.port)?,
        tls,
        daemon,
        baseline,
        spare,
        guards,
        cache,
        audit,
        monitoring,
        encryption_key,
        machine: None,
    })
}

/// The gateway would refuse them too, but on its host, where nobody looks.
fn checked_guards(config: GuardsConfig) -> Result<GuardsConfig, Failure> {
    match Guards::compile(&config) {
        Ok(_) => Ok(config),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::usage(problems.join("; ")))
        }
    }
}

fn checked_cache(cache: CacheConfig) -> Result<CacheConfig, Failure> {
    if cache.max_mib == 0 || cache.keep_for.0.is_zero() {
        return Err(Failure::usage("cache: with max_mib or keep_for at 0 nothing is kept; leave it out"));
    }
    Ok(cache)
}

/// Who has texts looked at on a cloud, or has rules to follow there, has to show later what was done.
fn resolve_audit(
    cloud: Cloud,
    wish: Option<AuditWish>,
    has_guards: bool,
    packs: &[Pack],
) -> Result<Option<AuditPolicy>, Failure> {
    let is_asked_for = wish.is_some() || (cloud != Cloud::Local && (has_guards || !packs.is_empty()));
    let wish = wish.unwrap_or_default();
    if wish.keep == Some(false) && !packs.is_empty() {
        let message = "audit.keep: false does not go with compliance; leave out one of both";
        return Err(Failure::usage(message).next("dsctl plan"));
    }
    if wish.rotate_mib == Some(0) {
        return Err(Failure::usage("audit.rotate_mib: 0 is not from 1 on"));
    }
    Ok((is_asked_for && wish.keep != Some(false)).then(|| wish.policy()))
}

fn resolve_daemon(wish: &DaemonWish) -> Result<ResolvedDaemon, Failure> {
    Ok(ResolvedDaemon {
        context: at_least("daemon.context", wish.context, 16)?,
        max_sequences: at_least("daemon.max_sequences", wish.max_sequences, 1)?.unwrap_or(DEFAULT_MAX_SEQUENCES),
        threads: at_least("daemon.threads", wish.threads, 1)?,
        memory_utilization: wish.memory_utilization,
    })
}

fn gateway_port(cloud: Cloud, wish: Option<u16>) -> Result<PortChoice, Failure> {
    match (cloud, wish) {
        (Cloud::Local, Some(0)) => Ok(PortChoice::AnyFree),
        (Cloud::Local, port) => Ok(PortChoice::Fixed(port.unwrap_or(DEFAULT_PORT))),
        (_, Some(0)) => {
            let message = "gateway.port: on a cloud it is a fixed one, since others are let in by it";
            Err(Failure::usage(message).next("the same command with another --port, or without"))
        }
        (_, port) => Ok(PortChoice::Fixed(port.unwrap_or(DEFAULT_CLOUD_PORT))),
    }
}

/// On this machine nothing leaves it, so that plain HTTP is the default there.
fn resolve_tls(cloud: Cloud, wish: Option<Tls>, certificate: Option<CertificateWish>) -> Result<ResolvedTls, Failure> {
    match (certificate, wish) {
        (Some(_), Some(Tls::Elsewhere)) => {
            let message = "gateway.certificate: nobody is shown it with network.tls elsewhere; leave out one of both";
            Err(Failure::usage(message).next("dsctl plan"))
        }
        (Some(files), _) => Ok(ResolvedTls::Given(files)),
        (None, Some(Tls::Gateway)) => Ok(ResolvedTls::Issued),
        (None, None) if cloud != Cloud::Local => Ok(ResolvedTls::Issued),
        (None, Some(Tls::Elsewhere) | None) => Ok(ResolvedTls::Plain),
    }
}

/// What would have no effect on this machine is refused by name: a budget that nobody keeps is worse than none.
fn refuse_cloud_wishes(deployment: &Deployment) -> Result<(), Failure> {
    let wishes = [
        ("region", deployment.region.is_some()),
        ("machine", deployment.machine != MachineWish::default()),
        ("network", deployment.network != here(deployment.network.tls)),
        ("budget", deployment.budget != BudgetWish::default()),
        ("compliance", !deployment.compliance.is_empty()),
        ("monitoring.grafana", deployment.monitoring.grafana == Some(Part::Enabled)),
        ("encryption_key", deployment.encryption_key.is_some()),
        ("state", deployment.state.is_some()),
    ];
    match wishes.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!("{field}: it is for a cloud, and has no effect on this machine; leave it out");
            Err(Failure::usage(message).next("dsctl plan"))
        }
    }
}

/// A network wish that has an effect on this machine too.
fn here(tls: Option<Tls>) -> NetworkWish {
    NetworkWish { tls: tls.filter(|tls| *tls == Tls::Gateway), ..NetworkWish::default() }
}

fn monitoring(wish: MonitoringWish) -> Result<Monitoring, Failure> {
    wish.resolve().map_err(|error| Failure::usage(error.to_string()))
}

/// Who names a key counts on it: where it would have no effect it is refused.
fn encryption_key(cloud: Cloud, given: &str) -> Result<EncryptionKey, Failure> {
    EncryptionKey::read(cloud, given).map_err(|error| {
        let next = match &error {
            InvalidEncryptionKey::NotOn(_) => "the same command without --encryption-key, or with --cloud gcp",
            InvalidEncryptionKey::Form(_) => "gcloud kms keys list --location=REGION --keyring=RING",
        };
        Failure::usage(format!("encryption_key: {error}")).next(next)
    })
}

fn at_least(field: &str, given: Option<u32>, least: u32) -> Result<Option<u32>, Failure> {
    match given {
        Some(value) if value < least => Err(Failure::usage(format!("{field}: {value} is below {least}"))),
        other => Ok(other),
    }
}

/// A model of the catalogue whose file comes from where the user says.
fn with_own_weights(catalogue: &Catalogue, name: &str, wish: WeightsWish) -> Result<ResolvedModel, Failure> {
    if wish.sources.is_empty() {
        return Err(Failure::usage("weights.sources: none is named, e.g. file:/data/model.gguf"));
    }
    let entry = catalogue.find(name).map_err(|error| Failure::usage(format!("model: {error}")).next("dsctl models"))?;
    let weights = WeightsSpec { name: entry.name.clone(), sources: wish.sources, sha256: wish.sha256, size: None };
    let served_name = entry.model.served_name.clone();
    Ok(ResolvedModel { name: entry.name.clone(), served_name, weights: vec![weights] })
}

/// Before anything is fetched: hundreds of gigabytes that can't be served would be a bad surprise.
fn refuse_unserved(catalogue: &Catalogue, model: &ResolvedModel) -> Result<(), Failure> {
    let family = catalogue.find(model.name.as_str()).map_err(Failure::usage)?.model.architecture.family;
    match family {
        Family::Llama | Family::Qwen2 => Ok(()),
        Family::Deepseek2 => {
            let message =
                format!("model: {}: dsserve does not serve the architecture {} yet", model.name, family.as_str());
            Err(Failure::usage(message).next("dsctl models"))
        }
    }
}

/// A model by the name a user gave it; `field` is where the name stood.
pub fn look_up(catalogue: &Catalogue, field: &str, name: &str) -> Result<ResolvedModel, Failure> {
    let choice =
        catalogue.resolve(name).map_err(|error| Failure::usage(format!("{field}: {error}")).next("dsctl models"))?;
    Ok(resolved_model(choice))
}

fn resolved_model(choice: ModelChoice) -> ResolvedModel {
    ResolvedModel { name: choice.name, served_name: choice.served_name, weights: choice.weights }
}

fn resolve_baseline(
    wish: BaselineWish,
    catalogue: &Catalogue,
    candidate: &ResolvedModel,
) -> Result<ResolvedBaseline, Failure> {
    match wish {
        BaselineWish::Local { model } => {
            let model = look_up(catalogue, "baseline", &model)?;
            // The same name is the same file, wherever the candidate's was said to come from.
            refuse_unserved(catalogue, &model)?;
            let same = model.name == candidate.name;
            Ok(ResolvedBaseline::Local(if same { candidate.clone() } else { model }))
        }
        BaselineWish::Api(api) => Ok(ResolvedBaseline::Api(resolve_api("baseline", api)?)),
    }
}

fn resolve_api(field: &str, api: ApiWish) -> Result<ResolvedApi, Failure> {
    let url = checked_url(&format!("{field}.url"), &api.url)?;
    let replicas = api.replicas.iter().map(|url| checked_url(&format!("{field}.replicas"), url));
    let replicas = replicas.collect::<Result<_, _>>()?;
    let key = match (api.key_env, api.key_file) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format!("{field}: key_env and key_file are both given; one is enough")));
        }
        (Some(name), None) => KeySource::Environment(name),
        (None, Some(path)) => KeySource::File(path),
        (None, None) => KeySource::None,
    };
    if let Some(price) = &api.price {
        price.check().map_err(|error| Failure::usage(format!("{field}.price.{}: {error}", error.field)))?;
    }
    Ok(ResolvedApi { url, replicas, model: api.model, key, price: api.price })
}

fn checked_url(field: &str, given: &str) -> Result<String, Failure> {
    let url = reqwest::Url::parse(given)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or_else(|| Failure::usage(format!("{field}: \"{given}\" is no URL like https://api.openai.com/v1")))?;
    if !url.username().is_empty() || url.password().is_some() {
        let message = format!("{field}: holds a user name or password; give the key by key_env or key_file");
        return Err(Failure::usage(message));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Kind;

    fn resolved(yaml: &str) -> Result<ResolvedSpec, Failure> {
        let deployment = Deployment::parse(yaml, "dsctl.yaml").unwrap();
        resolve(deployment, &advisor::catalogue().unwrap())
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let spec = resolved("model: smollm2-135m").unwrap();
        assert_eq!((spec.name.as_str(), spec.cloud), ("default", Cloud::Local));
        assert_eq!(spec.gateway_port, PortChoice::Fixed(8080));
        assert_eq!(spec.daemon.max_sequences, 8);
        assert_eq!(spec.baseline, None);
        assert_eq!(resolved("model: smollm2-135m\ngateway: {port: 0}").unwrap().gateway_port, PortChoice::AnyFree);
    }

    #[test]
    fn a_cloud_encrypts_unless_something_else_does_and_this_machine_when_it_is_asked() {
        let tls = |more: &str| resolved(&format!("model: smollm2-135m\n{more}")).unwrap().tls;
        for (more, expected) in [
            ("", ResolvedTls::Plain),
            ("network: {tls: gateway}", ResolvedTls::Issued),
            ("cloud: gcp", ResolvedTls::Issued),
            ("cloud: aws\nnetwork: {tls: elsewhere}", ResolvedTls::Plain),
        ] {
            assert_eq!(tls(more), expected, "{more}");
        }
        let certificate = "gateway: {certificate: {chain_file: /c, key_file: /k}}";
        assert!(matches!(tls(certificate), ResolvedTls::Given(files) if files.key_file.ends_with("k")));
    }

    #[test]
    fn the_headline_model_is_a_name_and_comes_in_parts() {
        let spec = resolved("model: 70b-int8").unwrap();
        assert_eq!(spec.model.served_name, "deepseek-r1-distill-llama-70b");
        assert_eq!(spec.weights().len(), 2);
    }

    #[test]
    fn own_weights_take_the_place_of_the_catalogues() {
        let spec = resolved("model: 70b-int8\nweights: {sources: ['file:/m.gguf']}").unwrap();
        assert_eq!(spec.weights().len(), 1);
        assert_eq!(spec.weights()[0].sources[0].to_string(), "file:/m.gguf");
    }

    #[test]
    fn a_local_baseline_of_the_same_model_shares_its_weights() {
        let spec = resolved("model: smollm2-135m\nbaseline: local:smollm2-135m").unwrap();
        assert_eq!(spec.weights().len(), 1);
        let spec = resolved("model: smollm2-135m\nbaseline: local:1.5b-int4").unwrap();
        assert_eq!(spec.weights().len(), 2);
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_place() {
        for (yaml, message) in [
            ("name: x", "model: none is named"),
            ("model: gpt-4", "model: unknown model \"gpt-4\""),
            ("model: 671b", "dsserve does not serve the architecture deepseek2"),
            (
                "model: smollm2-135m\nguards: {redact: {entities: [NAME]}}",
                "guards.redact.entities[0]: there is no entity NAME",
            ),
            ("model: smollm2-135m\ncloud: aws\ngateway: {port: 0}", "gateway.port: on a cloud"),
            (
                "model: smollm2-135m\nbaseline: {url: 'https://h/v1', price: {prompt_per_million: 150000, \
                 completion_per_million: 1}}",
                "baseline.price.prompt_per_million: $150000.00 for a million tokens is over",
            ),
            ("model: smollm2-135m\nbudget: {max_monthly: 10}", "budget: it is for a cloud"),
            ("model: smollm2-135m\ncompliance: [gdpr]", "compliance: it is for a cloud"),
            ("model: smollm2-135m\nmachine: {disk_gib: 9}", "machine: it is for a cloud"),
            ("model: smollm2-135m\nstate: s3://b/f", "state: it is for a cloud"),
            ("model: smollm2-135m\nnetwork: {tls: elsewhere}", "network: it is for a cloud"),
            (
                "model: smollm2-135m\ncloud: gcp\nnetwork: {tls: elsewhere}\ngateway: {certificate: {chain_file: c, key_file: k}}",
                "gateway.certificate: nobody is shown it",
            ),
            ("model: smollm2-135m\nencryption_key: k", "encryption_key: it is for a cloud"),
            ("model: smollm2-135m\nmonitoring: {grafana: enabled}", "monitoring.grafana: it is for a cloud"),
            (
                "model: smollm2-135m\ncloud: gcp\nmonitoring: {budget_per_day: 0}",
                "monitoring.budget_per_day: must be more",
            ),
            ("model: smollm2-135m\ndaemon: {context: 1}", "daemon.context: 1 is below 16"),
            ("model: smollm2-135m\ndaemon: {max_sequences: 0}", "daemon.max_sequences: 0 is below 1"),
            ("model: smollm2-135m\nweights: {sources: []}", "weights.sources: none is named"),
            ("model: smollm2-135m\nbaseline: local:nope", "baseline: unknown model"),
            ("model: smollm2-135m\nbaseline: {url: 'ftp://x'}", "baseline.url: \"ftp://x\" is no URL"),
            ("model: smollm2-135m\nbaseline: {url: 'https://u:p@h/v1'}", "holds a user name or password"),
            ("model: smollm2-135m\nbaseline: {url: 'https://h/v1', key_env: A, key_file: b}", "one is enough"),
        ] {
            let failure = resolved(yaml).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage, "{yaml}");
            assert!(failure.message.contains(message), "{yaml}: {}", failure.message);
        }
    }

    #[test]
    fn a_key_of_ones_own_is_taken_where_it_encrypts_and_refused_elsewhere() {
        let key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k";
        let on =
            |cloud: &str, key: &str| resolved(&format!("model: smollm2-135m\ncloud: {cloud}\nencryption_key: '{key}'"));
        let taken = on("gcp", key).unwrap().encryption_key.unwrap();
        assert_eq!((taken.name.as_str(), taken.location.as_str()), (key, "us-central1"));
        for cloud in ["aws", "azure"] {
            let failure = on(cloud, key).unwrap_err();
            let says = format!("encryption_key: a key of your own is for gcp only yet; on {cloud} ");
            assert!(failure.kind == Kind::Usage && failure.message.starts_with(&says), "{}", failure.message);
            assert!(failure.next.unwrap().contains("without --encryption-key"));
        }
        let failure = on("gcp", &format!("{key}/cryptoKeyVersions/1")).unwrap_err();
        assert!(failure.message.starts_with("encryption_key: \"projects/p/"), "{}", failure.message);
        assert!(failure.next.unwrap().starts_with("gcloud kms keys list"));
    }

    #[test]
    fn an_audit_log_is_kept_where_it_is_asked_for_or_owed() {
        let keep = |keep| Some(AuditWish { keep: Some(keep), ..AuditWish::default() });
        let kept =
            |cloud, wish, has_guards, packs: &[Pack]| resolve_audit(cloud, wish, has_guards, packs).unwrap().is_some();
        assert!(!kept(Cloud::Local, None, true, &[]));
        assert!(kept(Cloud::Local, Some(AuditWish::default()), false, &[]));
        assert!(kept(Cloud::Aws, None, true, &[]) && kept(Cloud::Aws, None, false, &[Pack::Gdpr]));
        assert!(!kept(Cloud::Aws, None, false, &[]) && !kept(Cloud::Aws, keep(false), true, &[]));
        let refused = resolve_audit(Cloud::Aws, keep(false), false, &[Pack::Hipaa]).unwrap_err();
        assert!(refused.message.contains("does not go with compliance"), "{}", refused.message);
        let grouped = AuditWish { sync: Some(spec::audit::AuditSync::Grouped), ..AuditWish::default() };
        let policy = resolve_audit(Cloud::Local, Some(grouped), false, &[]).unwrap().unwrap();
        assert_eq!((policy.sync, policy.rotate_mib), (spec::audit::AuditSync::Grouped, 64));
    }
}
