use std::sync::LazyLock;

use proptest::prelude::*;
use spec::machine::{Egress, Offer};

use crate::catalogue::{Catalogue, catalogue};
use crate::cost::monthly_total;
use crate::fit::fit;
use crate::memory::CacheType;
use crate::offers::offers;

use super::*;

const WORKLOAD: Workload = Workload { context: 4096, sequences: 8, cache: CacheType::F16 };

/// Read once for all cases.
static DATA: LazyLock<(Catalogue, Offers)> = LazyLock::new(|| (catalogue().unwrap(), offers().unwrap()));

/// The parts of an ask, owned.
#[derive(Debug, Clone)]
struct Asked {
    model: &'static str,
    cloud: Cloud,
    region: Option<RegionPattern>,
    default_region: Option<&'static str>,
    machine: MachineWish,
    network: NetworkWish,
    budget: BudgetWish,
    packs: Vec<Pack>,
    current: Option<Current>,
    unlisted: Unlisted,
}

fn asked(model: &'static str, cloud: Cloud) -> Asked {
    Asked {
        model,
        cloud,
        region: None,
        default_region: None,
        machine: MachineWish::default(),
        network: NetworkWish::default(),
        budget: BudgetWish::default(),
        packs: Vec::new(),
        current: None,
        unlisted: Unlisted::LeftOut,
    }
}

impl Asked {
    fn region(self, pattern: &str) -> Self {
        Self { region: pattern.parse().ok(), ..self }
    }

    fn machine_type(mut self, name: &str) -> Self {
        self.machine.machine_type = Some(name.to_owned());
        self
    }

    fn place(&self) -> Result<ResolvedMachine, PlaceError> {
        let ask = Ask {
            cloud: self.cloud,
            region: self.region.as_ref(),
            default_region: self.default_region,
            machine: &self.machine,
            network: &self.network,
            budget: &self.budget,
            packs: &self.packs,
            current: self.current.as_ref(),
            unlisted: self.unlisted,
        };
        place(DATA.0.find(self.model).unwrap(), WORKLOAD, &ask, &DATA.1)
    }

    fn error(&self) -> String {
        self.place().unwrap_err().to_string()
    }
}

fn is_of(machine: &ResolvedMachine, at: usize) -> Current {
    let candidate = &machine.candidates[at];
    Current {
        region: machine.region.clone(),
        machine_type: Some(candidate.offer.machine_type.clone()),
        zone: candidate.zone.clone(),
        market: Some(candidate.market),
    }
}

#[test]
fn the_cheapest_machine_is_tried_zone_by_zone_and_then_the_next() {
    let machine = asked("70b-int8", Cloud::Aws).region("us-east-1").place().unwrap();
    let labels: Vec<String> = machine.candidates.iter().map(MachineCandidate::label).collect();
    assert!(labels[0].starts_with("g7e.2xlarge in us-east-1") || labels[0].contains("in us-east-1a"), "{labels:#?}");
    let order: Vec<_> = machine
        .candidates
        .iter()
        .map(|each| (each.hourly().is_none(), each.hourly(), &each.offer.machine_type, &each.zone))
        .collect();
    assert!(order.is_sorted(), "{labels:#?}");
    assert_eq!((machine.egress_gb, machine.disk.gib), (100, 152));
    assert!(machine.around.source.contains("us-east-1"));
}

#[test]
fn zones_are_tried_in_the_order_given() {
    let mut ask = asked("8b-int8", Cloud::Aws);
    ask.machine.zones = vec!["us-west-2c".to_owned(), "us-west-2a".to_owned()];
    let machine = ask.place().unwrap();
    assert_eq!(machine.region, "us-west-2");
    let first: Vec<_> = machine.candidates[..2].iter().map(|each| each.zone.as_deref().unwrap()).collect();
    assert_eq!(first, ["us-west-2c", "us-west-2a"]);
    ask.machine.zones = vec!["us-west-2z".to_owned()];
    assert!(ask.error().starts_with("machine.zones: no machine that fits is offered in us-west-2z, but in "));
}

#[test]
fn what_is_on_the_spot_market_only_is_no_choice_on_demand() {
    let ask = Asked { unlisted: Unlisted::Shown, ..asked("8b-int8", Cloud::Gcp).region("us-central1") };
    let is_it = |machine: &ResolvedMachine| {
        machine.candidates.iter().any(|candidate| candidate.offer.machine_type == "a3-highgpu-1g")
    };
    assert!(!is_it(&ask.clone().place().unwrap()));
    let pinned = ask.clone().machine_type("a3-highgpu-1g");
    assert!(pinned.error().starts_with("machine.type: a3-highgpu-1g can't be had on demand"), "{}", pinned.error());
    let machine = MachineWish { market: Some(Market::Spot), ..pinned.machine.clone() };
    assert!(is_it(&Asked { machine, ..pinned }.place().unwrap()));
}

#[test]
fn only_azure_is_left_to_choose_the_zone() {
    for (cloud, chooses) in [(Cloud::Aws, false), (Cloud::Gcp, false), (Cloud::Azure, true)] {
        let machine = asked("32b-int8", cloud).place().unwrap();
        assert_eq!(machine.candidates[0].zone.is_none(), chooses, "{cloud}");
    }
    // Zones that are not on record can't be named by us, but by the user.
    let ask = asked("8b-int8", Cloud::Gcp).region("europe-west1").machine_type("g2-standard-4");
    assert!(
        ask.error().contains("machine.zones: the zones of the machines that fit are not on record"),
        "{}",
        ask.error()
    );
    let shown = Asked { unlisted: Unlisted::Shown, ..ask.clone() }.place().unwrap();
    assert_eq!(shown.candidates.iter().map(|candidate| candidate.zone.clone()).collect::<Vec<_>>(), [None]);
    let zones = vec!["europe-west1-b".to_owned()];
    let named = Asked { machine: MachineWish { zones, ..ask.machine.clone() }, ..ask };
    assert_eq!(named.place().unwrap().candidates[0].zone.as_deref(), Some("europe-west1-b"));
}

#[test]
fn the_region_is_the_named_one_else_the_users_else_the_cheapest() {
    let base = asked("70b-int8", Cloud::Aws);
    assert_eq!(base.clone().region("eu-north-1").place().unwrap().region, "eu-north-1");
    let own = Asked { default_region: Some("us-west-2"), ..base.clone() };
    assert_eq!(own.place().unwrap().region, "us-west-2");
    let not_matching = own.clone().region("eu-*").place().unwrap();
    assert!(not_matching.region.starts_with("eu-"));
    let not_allowed = Asked { packs: vec![Pack::Gdpr], ..own.clone() }.place().unwrap();
    assert!(packs::is_in_eu(Cloud::Aws, &not_allowed.region));
    // P4de is not in the user's region.
    let not_there = Asked { default_region: Some("us-east-2"), ..base.machine_type("p4de.24xlarge") };
    assert_eq!(not_there.place().unwrap().region, "us-east-1");
    assert!(own.region("mars-*").error().starts_with("region: no region on record of aws is mars-*; there are eu-"));
}

#[test]
fn a_deployment_stays_where_it_is() {
    let base = asked("32b-int8", Cloud::Aws);
    let first = base.clone().region("eu-central-1").place().unwrap();
    let current = Some(is_of(&first, first.candidates.len() - 1));
    let again = Asked { current: current.clone(), default_region: Some("us-east-1"), ..base.clone() };
    let again = again.place().unwrap();
    assert_eq!(again.region, "eu-central-1");
    assert_eq!(again.candidates[0], first.candidates[first.candidates.len() - 1]);
    assert_eq!(again.candidates.len(), first.candidates.len());
    let moved = Asked { current: current.clone(), ..base.clone().region("us-*") };
    assert!(moved.error().contains("lies in eu-central-1") && moved.error().contains("dsctl down"));
    // What no longer is as wished does not come first.
    let other = Asked { current, ..base.machine_type("g6e.2xlarge") };
    assert!(other.place().unwrap().candidates.iter().all(|each| each.offer.machine_type == "g6e.2xlarge"));
}

#[test]
fn a_type_that_cannot_be_is_refused_with_the_sum_and_what_would_do() {
    let base = asked("70b-int8", Cloud::Aws).region("us-east-1");
    let unknown = base.clone().machine_type("g6e.12xlrge").error();
    assert!(
        unknown.starts_with("machine.type: aws has no g6e.12xlrge on record, did you mean g6e.12xlarge?"),
        "{unknown}"
    );
    let small = base.clone().machine_type("g6e.xlarge").error();
    assert!(small.contains("weights") && small.contains("44.7 GiB are there"), "{small}");
    assert!(small.contains("it fits on g7e.2xlarge (us-east-1, $"), "{small}");
    let elsewhere = base.region("us-east-2").machine_type("p4de.24xlarge").error();
    assert!(
        elsewhere.contains("is not offered in us-east-2, but in eu-central-1, us-east-1, us-west-2"),
        "{elsewhere}"
    );
    let none = asked("671b-bf16", Cloud::Azure).region("westus3").error();
    assert!(none.contains("no machine on record holds 671b-bf16") && none.contains("short"), "{none}");
}

#[test]
fn all_rules_that_are_broken_are_named_at_once() {
    let mut ask = asked("70b-int8", Cloud::Aws).region("us-east-1");
    ask.packs = vec![Pack::Hipaa, Pack::Gdpr];
    ask.network.public = Some(true);
    ask.network.allow = vec!["0.0.0.0/0".parse().unwrap()];
    ask.budget.max_hourly = "0.5".parse().ok();
    ask.budget.max_monthly = "100".parse().ok();
    let Err(PlaceError::Refused(violations)) = ask.place() else { panic!("refused") };
    let named: Vec<_> = violations.iter().map(|violation| (violation.rule, violation.field)).collect();
    assert_eq!(
        named,
        [
            ("hipaa", "network.public"),
            ("hipaa", "network.allow"),
            ("gdpr", "network.allow"),
            ("gdpr", "region"),
            ("max-hourly", "budget.max_hourly"),
            ("max-monthly", "budget.max_monthly"),
        ]
    );
    let text = |at: usize| violations[at].to_string();
    assert!(text(3).ends_with("take one of eu-central-1, eu-north-1, eu-west-1"), "{}", text(3));
    assert!(
        text(4).contains("the cheapest that holds the model is g7e.2xlarge in us-east-1, on-demand, at $"),
        "{}",
        text(4)
    );
    assert!(text(5).contains("machine $") && text(5).contains("disk $"), "{}", text(5));
}

#[test]
fn the_monthly_limit_counts_all_that_stands_around_the_machine() {
    let mut ask = asked("8b-int8", Cloud::Aws).region("us-east-1");
    let machine = ask.place().unwrap();
    let total = monthly_total(&machine, &machine.candidates[0]);
    let names: Vec<_> = total.parts.iter().map(|part| part.name).collect();
    let nat = "public address of the nat gateway";
    assert_eq!(names, ["machine", "disk", "nat gateway", nat, "answers that leave the cloud"]);
    let sum = total.total.unwrap();
    ask.budget.max_monthly = Some(sum);
    assert_eq!(ask.place().unwrap().candidates[0], machine.candidates[0]);
    // The machine alone would be within it.
    ask.budget.max_monthly = machine.candidates[0].hourly().map(Usd::a_month);
    assert!(ask.error().contains(&format!("the cheapest comes to ${sum} a month")), "{}", ask.error());
    ask.budget.egress_gb = Some(10_000);
    assert!(!ask.error().contains(&sum.to_string()));
    let mut unpriced = asked("8b-int8", Cloud::Aws).region("eu-north-1").machine_type("g7e.2xlarge");
    unpriced.budget.max_monthly = Some(sum);
    let message = "no monthly total is known, since machine has no price on record";
    assert!(unpriced.error().contains(message), "{}", unpriced.error());
}

#[test]
fn private_endpoints_are_paid_for_where_a_cloud_charges_for_them() {
    for (cloud, is_paid) in [(Cloud::Aws, true), (Cloud::Gcp, false), (Cloud::Azure, false)] {
        let mut ask = asked("32b-int8", cloud);
        ask.network.egress = Some(Egress::Endpoints);
        let machine = ask.place().unwrap();
        let total = monthly_total(&machine, &machine.candidates[0]);
        assert_eq!(total.parts.iter().any(|part| part.name == "private endpoints"), is_paid, "{cloud}");
    }
}

#[test]
fn an_unknown_price_comes_last_and_is_never_within_a_limit() {
    let mut ask = asked("8b-int8", Cloud::Aws).region("eu-north-1");
    let all = ask.place().unwrap().candidates;
    assert!(all[0].hourly().is_some() && all.last().unwrap().hourly().is_none());
    ask.budget.max_hourly = "1000".parse().ok();
    assert!(ask.place().unwrap().candidates.iter().all(|each| each.hourly().is_some()));
    let ask = ask.machine_type("g7e.2xlarge");
    assert!(ask.error().contains("has a known price"), "{}", ask.error());
}

#[test]
fn spot_is_priced_as_spot_and_asks_for_its_own_limit() {
    let mut ask = asked("32b-int8", Cloud::Gcp);
    ask.machine.market = Some(Market::Spot);
    let machine = ask.place().unwrap();
    let first = &machine.candidates[0];
    assert_eq!((first.market, first.hourly()), (Market::Spot, first.offer.spot_hourly));
    // The same machine on demand is another one.
    let current = Some(Current { market: Some(Market::OnDemand), ..is_of(&machine, 1) });
    assert_eq!(Asked { current, ..ask }.place().unwrap().candidates[0], *first);
}

#[test]
fn the_cheapest_of_a_cloud_holds_the_model_and_has_a_price() {
    let (catalogue, offers) = &*DATA;
    let entry = catalogue.find("70b-int8").unwrap();
    let found = cheapest(entry, WORKLOAD, offers, Cloud::Aws, Market::OnDemand).unwrap();
    assert_eq!((found.machine_type.as_str(), found.region.as_str()), ("g7e.2xlarge", "us-east-1"));
    let huge = catalogue.find("671b-bf16").unwrap();
    assert!(cheapest(huge, WORKLOAD, offers, Cloud::Azure, Market::OnDemand).is_none());
}

fn any_ask() -> impl Strategy<Value = Asked> {
    let models = prop::sample::select(vec!["smollm2-135m", "1.5b", "7b-fp16", "8b", "14b", "32b", "70b", "671b"]);
    let clouds = prop::sample::select(vec![Cloud::Aws, Cloud::Gcp, Cloud::Azure]);
    let regions =
        prop::option::of(prop::sample::select(vec!["*", "eu*", "us-*", "*1", "w*", "eu-west-1", "us-east-1"]));
    let own = prop::option::of(prop::sample::select(vec!["us-east-1", "eu-west-1", "us-central1", "westeurope"]));
    let markets = prop::option::of(prop::sample::select(vec![Market::Spot, Market::OnDemand]));
    let money = |most: u64| prop::option::of((1..most).prop_map(|dollars| Usd::from_millionths(dollars * 1_000_000)));
    let packs = prop::sample::subsequence(vec![Pack::Gdpr, Pack::Hipaa], 0..=2);
    (models, clouds, regions, own, markets, money(40), money(20_000), packs).prop_map(
        |(model, cloud, region, default_region, market, max_hourly, max_monthly, packs)| Asked {
            region: region.and_then(|region| region.parse().ok()),
            default_region,
            machine: MachineWish { market, ..MachineWish::default() },
            budget: BudgetWish { max_hourly, max_monthly, egress_gb: None },
            packs,
            ..asked(model, cloud)
        },
    )
}

fn fits(model: &str, offer: &Offer) -> bool {
    offer
        .gpu
        .as_ref()
        .is_some_and(|gpu| fit(DATA.0.find(model).unwrap(), WORKLOAD, offer.gpu_count, gpu.memory_mib).is_ok())
}

proptest! {
    #[test]
    fn a_candidate_is_all_that_was_asked_for(ask in any_ask()) {
        let Ok(machine) = ask.place() else { return Ok(()) };
        prop_assert!(!machine.candidates.is_empty());
        prop_assert!(ask.region.is_none_or(|pattern| pattern.matches(&machine.region)));
        prop_assert!(packs::allow_region(&ask.packs, ask.cloud, &machine.region));
        for each in &machine.candidates {
            prop_assert!(fits(ask.model, &each.offer), "{}", each.label());
            prop_assert_eq!((each.offer.cloud, &each.offer.region), (ask.cloud, &machine.region));
            prop_assert_eq!(each.market, ask.machine.market.unwrap_or(Market::OnDemand));
            prop_assert!(ask.cloud == Cloud::Azure || each.zone.is_some());
            if let Some(most) = ask.budget.max_hourly {
                prop_assert!(each.hourly().unwrap() <= most);
            }
            if let Some(most) = ask.budget.max_monthly {
                prop_assert!(monthly_total(&machine, each).total.unwrap() <= most);
            }
        }
        let prices: Vec<_> = machine.candidates.iter().map(|each| (each.hourly().is_none(), each.hourly())).collect();
        prop_assert!(prices.is_sorted());
    }

    #[test]
    fn a_plan_made_again_starts_with_what_is_there(ask in any_ask(), at in any::<prop::sample::Index>()) {
        let Ok(first) = ask.place() else { return Ok(()) };
        let at = at.index(first.candidates.len());
        let again = Asked { current: Some(is_of(&first, at)), ..ask }.place().unwrap();
        prop_assert_eq!(&again.candidates[0], &first.candidates[at]);
        prop_assert_eq!(&again.region, &first.region);
        let mut rest = again.candidates;
        let moved = rest.remove(0);
        rest.insert(at, moved);
        prop_assert_eq!(rest, first.candidates);
    }

    #[test]
    fn a_refusal_names_each_broken_rule_once(ask in any_ask()) {
        let Err(PlaceError::Refused(violations)) = ask.place() else { return Ok(()) };
        let mut rules: Vec<_> = violations.iter().map(|violation| (violation.rule, violation.field)).collect();
        let count = rules.len();
        rules.sort_unstable();
        rules.dedup();
        prop_assert_eq!(rules.len(), count);
        prop_assert!(count > 0);
    }
}
